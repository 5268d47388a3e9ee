# SPDX-License-Identifier: Apache-2.0
"""ashore itself on its way to a host, to a newer version, and off again: killed before each call that changes a file.

At every moment ``/opt/bin/ashore`` leads to a whole build or is not there; the next run ends as if none was killed.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ashore.acts.boot import hand_over
from ashore.acts.change.farewell import farewell
from ashore.errors import UnchangedError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.own import ownbuild
from ashore.nouns.digest import Digest
from ashore.nouns.installer import BIN, BUILDS, LAYOUT, PROGRAM_LINK, Card
from tests.flow.machine import Machine
from tests.flow.test_kill import in_child
from tests.unit.test_own_build import make_build

IMAGE = Digest("sha256:" + "1" * 64)
RUNS = ("true",)
"""Instead of a way into the host: its build is never run here."""


class Installer:
    """What an installer image has below its top."""

    def __init__(self, top: Path, version: str, text: bytes) -> None:
        self.top = top
        make_build(top / BIN, text)
        (top / LAYOUT / "blobs").mkdir(parents=True)
        (top / LAYOUT / "index.json").write_text("{}")
        self.digest = ownbuild.read(str(top / BIN)).digest
        self.card = Card(version=version, build=self.digest, image=IMAGE)

    def run(self, on: Machine) -> None:
        """The container's part, and the end of it on the host."""
        with Beneath(str(on.root)) as host:
            placed = hand_over.place(host, str(self.top), self.card, RUNS)
            hand_over.drop_layout(host, placed.layout)


def leave(on: Machine) -> None:
    farewell(on.tools())


def counted_copies() -> None:
    """Files are created by shutil as well."""
    real = shutil.copyfile

    def copy(source: str, target: str, *, follow_symlinks: bool = True) -> str:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))  # counted
        return real(source, target, follow_symlinks=follow_symlinks)

    shutil.copyfile = copy  # type: ignore[assignment]


@pytest.fixture
def first(quick_folder: Path) -> Installer:
    return Installer(quick_folder / "first", "1", b"one")


@pytest.fixture
def second(quick_folder: Path) -> Installer:
    return Installer(quick_folder / "second", "2", b"two")


@pytest.mark.parametrize("name", ["install", "upgrade", "remove"])
def test_a_kill_before_any_call_leaves_a_whole_program_and_is_made_good(
    name: str, quick_folder: Path, first: Installer, second: Installer
) -> None:
    stories: dict[str, tuple[list[Callable[[Machine], object]], Callable[[Machine], object]]] = {
        "install": ([], first.run),
        "upgrade": ([first.run], second.run),
        "remove": ([first.run], leave),
    }
    before, story = stories[name]
    template = Machine(quick_folder / "template")
    empty = everything(template.root)
    for step in before:
        step(template)

    def fresh(number: int) -> Machine:
        shutil.copytree(template.root, quick_folder / str(number) / "host", symlinks=True)
        return Machine(quick_folder / str(number))

    def with_copies(on: Machine) -> None:
        counted_copies()
        story(on)

    whole = fresh(-1)
    total = in_child(with_copies, whole, stop_at=-1)
    new = everything(whole.root)
    assert total > 8, "the sweep sees too few calls to mean anything"
    for at in range(total):
        victim = fresh(at)
        assert in_child(with_copies, victim, stop_at=at) == -1
        assert whole_program(victim.root) in (
            {first.digest, second.digest} if name == "upgrade" else {None, first.digest}
        )
        story(victim)
        assert everything(victim.root) == new, f"killed before call {at} of {total}"
        leave(victim)
        assert everything(victim.root) == empty, f"killed before call {at} of {total}, then taken away"
        shutil.rmtree(victim.folder)


def whole_program(root: Path) -> Digest | None:
    """The build that the link leads to."""
    link = root / PROGRAM_LINK
    if not link.is_symlink():
        return None
    program = root / os.readlink(link).lstrip("/")
    assert program.is_file(), "the link leads nowhere"
    build = shutil.copytree(program.parent, root.parent / "seen", symlinks=True)
    (build / "c-library").mkdir()
    (build / "c-library/x").write_text("")
    digest = ownbuild.read(str(build)).digest
    shutil.rmtree(build)
    return digest


def everything(root: Path) -> dict[str, str]:
    """Each path with its content or target; which of several older builds was kept is of no interest."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.endswith(("ashore/lock",)):
            continue
        found[name] = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "folder"
    assert not [name for name in found if name.startswith(f"{BUILDS}/.")]
    return found


def test_a_host_that_cannot_run_it_is_as_before(quick_folder: Path, first: Installer, second: Installer) -> None:
    host = Machine(quick_folder / "template")
    before = everything(host.root)
    with Beneath(str(host.root)) as root, pytest.raises(UnchangedError, match="cannot run ashore"):
        hand_over.place(root, str(first.top), first.card, ("false",))
    assert everything(host.root) == before
    first.run(host)
    before = everything(host.root)
    with Beneath(str(host.root)) as root, pytest.raises(UnchangedError, match="cannot run ashore"):
        hand_over.place(root, str(second.top), second.card, ("false",))
    assert everything(host.root) == before
