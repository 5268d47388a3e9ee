# SPDX-License-Identifier: Apache-2.0
"""Killed before each file-changing call, the next run ends at exactly the old or exactly the new generation.

The killed process is a real one: a fork that sends itself SIGKILL. Its wrapped calls are those that change
files; what the kernel had done by then stays, as after any kill.
"""

import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ashore.acts.change.pending import settle
from ashore.acts.transaction.recover import recover
from ashore.mechanisms import syscalls
from ashore.nouns.files import Decided
from tests.fakes.bundles import File, Folder, Hard, Link, Tree
from tests.flow.machine import Machine

V1 = "reg.example/all:1"
V2 = "reg.example/all:2"
UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
FIRST: Tree = {
    "etc/app/app.conf": "one\n",
    "etc/app/dropped.conf": "goes away\n",
    "etc/app/link": Link("app.conf"),
    "etc/app/becomes-folder": "a file at first\n",
    "etc/app/becomes-file/inside": "a folder at first\n",
    "etc/adopted": "ours\n",
    "etc/merged": "first = 1\nand\nlast = 1\n",
    "etc/waits": "one\n",
    "etc/same": "never changes\n",
    "etc/systemd/system/app.service": UNIT,
    "opt/bin/app": File("binary one\n" * 1000, mode=0o755),
    "opt/bin/app-again": Hard("opt/bin/app"),
    "opt/empty": Folder(0o750),
    "opt/attributes": File("x", xattrs={"user.note": b"hello"}),
    "var/lib/app/deep/er/file": "deep\n",
}
SECOND: Tree = {
    "etc/app/app.conf": "two\n",
    "etc/app/added.conf": "new\n",
    "etc/app/link": Link("added.conf"),
    "etc/app/becomes-folder/inside": "a folder now\n",
    "etc/app/becomes-file": "a file now\n",
    "etc/adopted": "ours again\n",
    "etc/merged": "first = 1\nand\nlast = 2\n",
    "etc/waits": "two\n",
    "etc/same": "never changes\n",
    "etc/systemd/system/app.service": UNIT + "# two\n",
    "opt/bin/app": File("binary two\n" * 1000, mode=0o750),
    "opt/bin/app-again": Hard("opt/bin/app"),
    "opt/empty": Folder(0o700),
    "opt/attributes": File("x", xattrs={"user.note": b"bye"}),
}
TOML = '[[files]]\npath = "etc/adopted"\nadopt = true\n'

Story = Callable[[Machine], object]


def edit(machine: Machine) -> None:
    """One edit that can be merged with version 2, and one that cannot."""
    machine.write("etc/merged", "first = mine\nand\nlast = 1\n")
    machine.write("etc/waits", "mine\n")


EDITED: list[Story] = [lambda m: m.install(V1), edit]
STORIES: dict[str, tuple[list[Story], Story]] = {
    "install": ([], lambda m: m.install(V1)),
    "upgrade": ([lambda m: m.install(V1)], lambda m: m.install(V2)),
    "rollback": ([lambda m: m.install(V1), lambda m: m.install(V2)], lambda m: m.roll_back()),
    "remove": ([lambda m: m.install(V1)], lambda m: m.remove("all")),
    "upgrade over edits": (EDITED, lambda m: m.install(V2)),
    "rollback over a merge": ([*EDITED, lambda m: m.install(V2)], lambda m: m.roll_back()),
    "take": ([*EDITED, lambda m: m.install(V2)], lambda m: settle(m.tools(), ["etc/waits"], Decided.TAKE)),
    "keep": ([*EDITED, lambda m: m.install(V2)], lambda m: settle(m.tools(), ["etc/waits"], Decided.KEEP)),
}

_CHANGING = (
    *("write", "rename", "unlink", "mkdir", "rmdir", "symlink", "link"),
    *("fchmod", "fchown", "chown", "chmod", "setxattr", "removexattr", "ftruncate", "pwrite", "posix_fallocate"),
)


def machine(folder: Path, before: list[Story]) -> Machine:
    made = Machine(folder)
    made.images.add(V1, FIRST, TOML)
    made.images.add(V2, SECOND, TOML)
    made.write("etc/adopted", "what the host had\n", mode=0o600)
    for story in before:
        story(made)
    return made


def counting(story: Story, on: Machine, stop_at: int) -> int:
    """Run `story` in this process with every file-changing call counted; SIGKILL before number `stop_at`."""
    count = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal count
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return real(*args, **kwargs)

        return call

    real_open = os.open

    def opened(path: str, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_CREAT:
            return counted(real_open)(path, flags, *args, **kwargs)  # type: ignore[return-value]
        return real_open(path, flags, *args, **kwargs)  # type: ignore[arg-type]

    for name in _CHANGING:
        setattr(os, name, counted(getattr(os, name)))
    os.open = opened  # type: ignore[assignment]
    syscalls._renameat2 = counted(syscalls._renameat2)  # type: ignore[assignment]
    story(on)
    return count


def in_child(story: Story, on: Machine, stop_at: int) -> int:
    """Run it in a fork. Returns the number of calls, or -1 if it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            real_write = os.write
            real_write(writer, str(counting(story, on, stop_at)).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    said = os.read(reader, 100)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -1
    assert status == 0, "the story itself failed"
    return int(said)


def kill_and_recover(story: Story, victim: Machine, at: int) -> None:
    """Kill it before its call number `at`, and have the next run recover it."""
    assert in_child(story, victim, stop_at=at) == -1
    tools = victim.tools()
    with tools.state.locked():
        recover(tools)


def seen(machine: Machine) -> tuple[object, ...]:
    """The tree, and what is known of each path: what is an edit of what, and what waits. Stats are of other inodes."""
    current = machine.tools().history.current()
    files = {path: msgspec.structs.replace(record, stat=None) for path, record in current.files.items()}
    return machine.tree(), current.number, files, current.displaced


@pytest.mark.parametrize("name", STORIES)
def test_a_kill_before_any_call_leaves_the_old_or_the_new_generation(name: str, quick_folder: Path) -> None:
    before, story = STORIES[name]
    template = machine(quick_folder / "template", before)
    old = seen(template)

    def fresh(number: int) -> Machine:
        shutil.copytree(template.root, quick_folder / str(number) / "host", symlinks=True)
        return Machine(quick_folder / str(number), template.images)

    whole = fresh(-1)
    total = in_child(story, whole, stop_at=-1)
    new = seen(whole)
    assert old != new
    assert total > 30, "the sweep sees too few calls to mean anything"
    outcomes = {"old": 0, "new": 0}
    for at in range(total):
        victim = fresh(at)
        kill_and_recover(story, victim, at)
        tools = victim.tools()
        with tools.state.locked():
            assert recover(tools) == "nothing"
        found = seen(victim)
        assert found in (old, new), f"killed before call {at} of {total}: neither old nor new"
        assert victim.leftovers() == [], f"killed before call {at} of {total}"
        outcomes["old" if found == old else "new"] += 1
        shutil.rmtree(victim.folder)
    assert outcomes["old"] and outcomes["new"], outcomes
