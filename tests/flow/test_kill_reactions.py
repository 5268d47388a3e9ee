# SPDX-License-Identifier: Apache-2.0
"""Killed before each file-changing call of a change with triggers and steps, on a live root: what is derived, what
the kernel is set to, and what a step began, are those of the generation that recovery ends at."""

import contextlib
import shutil
from pathlib import Path

import pytest

from tests.fakes.bundles import FakeImages, File, Tree
from tests.fakes.elf import library
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_kill import Story, in_child, kill_and_recover
from tests.flow.test_triggers import BUNDLE, FORWARD, SOMAXCONN, prepare, without_users

V1, V2 = "reg.example/app:1", "reg.example/app:2"
SERVICE = "etc/systemd/system/app.service"
MARK = "run/drained"
"""What the step before leaves, and its undo takes away: a file of the tree that is compared."""
TOML = f"""
[[step]]
name = "drain"
phase = "before"
command = ["touch", "{MARK}"]
reason = "it marks that it was begun"
[[step]]
name = "drain"
phase = "undo"
command = ["rm", "{MARK}"]
reason = "it takes the mark away"
[[step]]
name = "welcome"
phase = "after"
command = ["rm", "{MARK}"]
reason = "it takes the mark away"
"""
FIRST: Tree = {
    SERVICE: "[Service]\nExecStart=/opt/app\n[Install]\nWantedBy=multi-user.target\n",
    "etc/sysctl.d/app.conf": "net.ipv4.ip_forward = 1\n",
    "usr/local/lib/libapp.so.1.2": File(library("libapp.so.1")),
    "usr/local/share/ca-certificates/app.crt": "one\n",
}
SECOND: Tree = {
    **FIRST,
    "etc/sysctl.d/app.conf": "net.core.somaxconn = 1024\n",
    "usr/local/lib/libapp.so.1.2": File(library("libapp.so.1", "newer")),
    "usr/local/share/ca-certificates/app.crt": "two\n",
    "usr/lib/modules/6.1/extra/app.ko": "module",
    "usr/lib/tmpfiles.d/app.conf": "d /var/lib/app/cache\n",
}
STORIES: dict[str, tuple[list[Story], Story]] = {
    "install": ([], lambda m: m.install(V2)),
    "upgrade": ([lambda m: m.install(V1)], lambda m: m.install(V2)),
    "remove": ([lambda m: m.install(V2)], lambda m: m.remove("app")),
}


def live(folder: Path, images: FakeImages) -> Machine:
    """A host as a new process finds it: PID 1 has what it had, and the programs are those of its root."""
    machine = Machine(folder, images)
    machine.systemd = FakeSystemd()
    machine.systemd.add("app.service", running=True)

    def touch() -> str:
        machine.write(MARK, "")
        return ""

    def remove() -> str:
        with contextlib.suppress(FileNotFoundError):
            (machine.root / MARK).unlink()
        return ""

    machine.programs.commands = {f"touch {MARK}": touch, f"rm {MARK}": remove}
    return machine


@pytest.mark.parametrize("name", STORIES)
def test_a_kill_before_any_call_leaves_what_is_derived_as_the_files_are(name: str, quick_folder: Path) -> None:
    before, story = STORIES[name]
    images = FakeImages()
    images.add(V1, FIRST, TOML)
    images.add(V2, SECOND, TOML)
    template = live(quick_folder / "template", images)
    prepare(template)
    template.write("run/keep", "")
    for earlier in before:
        earlier(template)
    old = without_users(template.tree())

    def fresh(number: int) -> Machine:
        shutil.copytree(template.root, quick_folder / str(number) / "host", symlinks=True)
        return live(quick_folder / str(number), images)

    whole = fresh(-1)
    total = in_child(story, whole, stop_at=-1)
    new = without_users(whole.tree())
    assert total > 60, "the sweep sees too few calls to mean anything"
    assert BUNDLE in _differing(old, new) and {FORWARD, SOMAXCONN} & {*_differing(old, new)}
    outcomes = {"old": 0, "new": 0}
    for at in range(total):
        victim = fresh(at)
        kill_and_recover(story, victim, at)
        tree = without_users(victim.tree())
        if tree not in (old, new):
            nearest = min((old, new), key=lambda end: len(_differing(tree, end)))
            pytest.fail(f"killed before call {at} of {total}: neither old nor new: {_differing(tree, nearest)}")
        assert victim.leftovers() == [], f"killed before call {at} of {total}"
        outcomes["old" if tree == old else "new"] += 1
        shutil.rmtree(victim.folder)
    assert outcomes["old"] and outcomes["new"], outcomes


def _differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
