# SPDX-License-Identifier: Apache-2.0
"""ashore itself on its way to a host, to a newer version, and off again: killed before each call that changes a file.

At every moment ``/opt/bin/ashore`` leads to a whole build or is not there; the next run ends as if none was killed.
"""

import contextlib
import os
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ashore.acts.boot import hand_over
from ashore.acts.change.farewell import farewell
from ashore.cli import run
from ashore.errors import AshoreError, InputError, UnchangedError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.own import ownbuild
from ashore.mechanisms.state import journal
from ashore.nouns.digest import Digest, hex_of
from ashore.nouns.generation import Verb
from ashore.nouns.installer import BIN, BUILDS, CARD_PATH, INCOMING, LAYOUT, PROGRAM_LINK, Card
from ashore.nouns.journal import Begun, Held
from ashore.rules.provision.hostunits import BOOT_LINK
from tests.fakes.systemd import FakeSystemd
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
        found[name] = (
            os.readlink(path) if path.is_symlink() else path.read_text(errors="replace") if path.is_file() else "folder"
        )
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


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["ownbuild._copy", "ownbuild._link", "ownunits.place", "the image"])
def test_what_cannot_be_placed_whole_is_not_there_where_no_ashore_was(
    where: str, quick_folder: Path, first: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Machine(quick_folder / "template")
    before = everything(host.root)
    if where == "the image":
        shutil.rmtree(first.top / LAYOUT)
    else:
        monkeypatch.setattr(f"ashore.mechanisms.own.{where}", full)
    with Beneath(str(host.root)) as root, pytest.raises(AshoreError):
        hand_over.place(root, str(first.top), first.card, RUNS)
    assert everything(host.root) == before


def test_what_came_first_stays_where_another_installer_has_brought_its_own(
    quick_folder: Path, first: Installer, second: Installer
) -> None:
    host = Machine(quick_folder / "template")
    with Beneath(str(host.root)) as root:
        placed = hand_over.place(root, str(first.top), first.card, RUNS)
    second.run(host)
    before = everything(host.root)
    with Beneath(str(host.root)) as root:
        hand_over.withdraw(root, placed.program)
    assert everything(host.root) == before


def leave_refused(host: Machine) -> None:
    """The host's part of a first install that is refused."""
    layout = f"/{INCOMING}/{hex_of(IMAGE)}"
    hand_over.leave(host.tools(), InputError("a value is missing"), layout)
    with Beneath(str(host.root)) as root:
        hand_over.drop_layout(root, layout)


def refused(host: Machine, installer: Installer) -> None:
    installer.run(host)
    leave_refused(host)


def test_ashore_goes_again_where_it_came_first_with_what_is_refused(quick_folder: Path, first: Installer) -> None:
    host = Machine(quick_folder / "template", systemd=FakeSystemd())
    before = everything(host.root)
    refused(host, first)
    assert everything(host.root) == before


@pytest.mark.parametrize("what", ["a generation", "a journal", "another's image", "a change at work"])
def test_ashore_stays_where_it_is_still_needed(what: str, quick_folder: Path, first: Installer) -> None:
    host = Machine(quick_folder / "template")
    state = host.tools().state
    host.images.add("registry.example/worker:1", {"etc/app.conf": "x"})
    with contextlib.ExitStack() as stack:
        if what == "a generation":
            host.install("registry.example/worker:1")
        elif what == "a journal":
            journal.begin(state, Begun(transaction="t", verb=Verb.INSTALL, boot=""))
        elif what == "a change at work":
            stack.enter_context(state.locked())
        first.run(host)
        if what == "another's image":  # each drops what was brought before
            (host.root / INCOMING / "2").mkdir(parents=True)
        before = everything(host.root)
        leave_refused(host)
    assert everything(host.root) == before
    assert whole_program(host.root) == first.digest


def test_ashore_stays_with_the_note_that_keeps_the_next_boot_from_another_try(
    quick_folder: Path, first: Installer
) -> None:
    host = Machine(quick_folder / "template", systemd=FakeSystemd())
    before = everything(host.root)
    host.write(BOOT_LINK, "")
    first.run(host)
    history = host.tools().history
    history.hold({IMAGE: Held(bundle="worker", reference="worker:1", reason="its units failed", time="")})
    refused(host, first)
    assert whole_program(host.root) == first.digest
    (host.root / BOOT_LINK).unlink()
    (host.root / BOOT_LINK).parent.rmdir()
    refused(host, first)
    assert everything(host.root) == before


@pytest.fixture
def entry(first: Installer, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """The first as the image that runs, on a host where each program that it starts succeeds and does nothing."""
    (first.top / CARD_PATH).write_bytes(msgspec.json.encode(first.card))
    monkeypatch.setattr("ashore.mechanisms.own.ownbuild.locate", lambda _: str(first.top / BIN))
    monkeypatch.setattr("ashore.mechanisms.pid1.handover.own_command", lambda: RUNS)
    monkeypatch.setattr("ashore.acts.boot.hand_over.check_host", lambda _: None)
    return first


@pytest.mark.parametrize("how", [(), ("--boot",)], ids=["by hand", "at boot"])
def test_ashore_goes_again_where_pid_1_does_not_begin(
    how: tuple[str, ...], quick_folder: Path, entry: Installer
) -> None:
    host = Machine(quick_folder / "template")
    before = everything(host.root)
    hand_over_to = ["hand-over", "--root", str(host.root), "--reference", "registry.example/worker:1", *how]
    assert run(hand_over_to) == 7
    shutil.rmtree(host.root / "run/ashore")
    assert everything(host.root) == before
    entry.run(host)
    assert run(hand_over_to) == 7
    assert whole_program(host.root) == entry.digest, "it was there before"


@pytest.mark.parametrize("given", ["", "mirror.example/worker:1"], ids=["as it was built", "as it was copied"])
def test_an_installer_says_by_which_name_its_image_is_recorded(
    given: str, quick_folder: Path, entry: Installer, capsys: pytest.CaptureFixture[str]
) -> None:
    card = msgspec.structs.replace(entry.card, reference="registry.example/worker:1")
    (entry.top / CARD_PATH).write_bytes(msgspec.json.encode(card))
    run(
        [
            "hand-over",
            "--root",
            str(Machine(quick_folder / "template").root),
            *(("--reference", given) if given else ()),
        ]
    )
    said = capsys.readouterr().err
    assert f"recorded as {given or card.reference}" in said
    assert ("another name: --reference" in said) is (not given)


@pytest.mark.parametrize(
    ("flag", "said", "remedy"),
    [
        (os.ST_NOEXEC, ["/opt/ashore: nothing can be run there: it is mounted noexec"], "remount,exec"),
        (os.ST_RDONLY, [f"/{path}: cannot be written" for path in (BUILDS, "var/lib", "etc")], "remount,rw"),
    ],
    ids=["noexec", "read-only"],
)
def test_where_ashore_cannot_be_placed_that_is_what_is_told(
    flag: int, said: list[str], remedy: str, quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "_issues", lambda _: [])
    seen = types.SimpleNamespace(f_flag=flag)
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    with pytest.raises(UnchangedError, match="ashore cannot be placed on the host") as caught:
        hand_over.check_host(str(Machine(quick_folder / "template").root))
    assert all(line in str(caught.value) for line in said)
    assert len(caught.value.issues) == len(said)
    assert all(remedy in issue.remedy for issue in caught.value.issues)
    assert "docker run" not in caught.value.remedy, "that is what was run"
