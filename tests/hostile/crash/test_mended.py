# SPDX-License-Identifier: Apache-2.0
"""What the harnesses found once, each as its smallest case."""

import errno
import os
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ashore.acts.transaction import steps, transaction
from ashore.acts.transaction.recover import recover, with_room
from ashore.errors import ChangedError
from ashore.mechanisms import syscalls
from ashore.mechanisms.stage.staging import sweep
from ashore.mechanisms.stage.swap import undo
from ashore.mechanisms.state import journal
from ashore.nouns.bundle import BundleStep, Phase
from ashore.nouns.digest import of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.generation import Verb
from ashore.nouns.journal import Area, Begun, Recovered, Staged, StagedStep, Verdict
from ashore.nouns.plan import Action, PlannedStep, Step
from ashore.nouns.units import JobResult, UnitAction, UnitVerb
from ashore.rules.provision.hostunits import RECOVER_TEXT
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_content_of_a_batch_has_no_name_before_it_is_durable(machine: Machine) -> None:
    """A power cut between left an empty file under its name, and recovery took it for the content."""
    store, data = machine.tools().content, b"displaced\n"
    (machine.folder / "source").write_bytes(data)
    source = os.open(machine.folder / "source", os.O_RDONLY)
    store.put(of(data), source, sync=False)
    assert not store.has(of(data))
    store.sync()
    assert store.has(of(data))
    os.close(source)


def test_a_folder_that_an_interrupted_undo_had_made_gets_its_mode(machine: Machine) -> None:
    old = Entry(kind=Kind.DIR, mode=0o755, uid=os.geteuid(), gid=os.getegid())
    step = Step(action=Action.RMDIR, path="opt/gone", bundle="b", old=old)
    (machine.root / "opt/gone").mkdir(mode=0o700)
    undo(machine.tools().host, [], StagedStep(step=step, area=0, name=""))
    assert stat.S_IMODE((machine.root / "opt/gone").stat().st_mode) == 0o755


def test_a_killed_collection_is_done_again(machine: Machine) -> None:
    """The journal went first: what was not collected yet stayed in the store."""
    tools = machine.tools()
    with tools.state.locked():
        journal.begin(tools.state, Begun(transaction="t", verb=Verb.INSTALL, boot=""))
        torn = machine.root / "var/lib/ashore/content/sha256/ab/.ab.new"
        torn.parent.mkdir(parents=True)
        torn.touch()
        recover(tools)
    assert not torn.exists()


def test_a_staging_folder_that_cannot_be_removed_is_no_silence(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = machine.tools()
    real = os.rmdir

    def refused(name: str, *, dir_fd: int | None = None) -> None:
        if name == ".ashore":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(name, dir_fd=dir_fd)

    (machine.root / ".ashore/t").mkdir(parents=True)
    with tools.state.locked():
        journal.begin(tools.state, Begun(transaction="t", verb=Verb.INSTALL, boot="", areas=(Area(".ashore/t"),)))
        monkeypatch.setattr(os, "rmdir", refused)
        with pytest.raises(ChangedError):
            recover(tools)
        monkeypatch.undo()
        recover(tools)
    assert not (machine.root / ".ashore").exists()
    sweep(tools.host, Area(".ashore/t"), tools.content)  # once more: nothing is there, and nothing happens


def test_what_a_journal_set_aside_is_used_once_the_disk_is_full(machine: Machine) -> None:
    tools = machine.tools()
    tries = []

    def end() -> str:
        tries.append((machine.root / "var/lib/ashore/journal/0-reserve").exists())
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "ended"

    with tools.state.locked():
        journal.begin(tools.state, Begun(transaction="t", verb=Verb.INSTALL, boot=""))
        journal.reserve(tools.state, 4096)
        assert with_room(tools, end) == "ended"
    assert tries == [True, False]


@pytest.mark.parametrize("judged", [True, False])
def test_a_journal_cut_short_in_its_last_sweep_is_swept_and_told_as_what_it_was(machine: Machine, judged: bool) -> None:
    tools = machine.tools()
    with tools.state.locked():
        journal.begin(tools.state, Begun(transaction="t", verb=Verb.INSTALL, boot=""))
        journal.staged(tools.state, Staged(steps=()))
        if judged:
            journal.verdict(tools.state, Verdict(generation=1))
        state = machine.root / "var/lib/ashore"
        (state / "journal").rename(state / "journal.done")
        assert recover(tools) is (Recovered.FORWARD if judged else Recovered.NOTHING)
        assert not (state / "journal.done").exists()
        assert recover(tools) is Recovered.NOTHING


def test_a_last_sweep_that_fails_is_told_and_its_verdict_seen_by_the_next(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, unlink = machine.tools(), os.unlink
    tries: list[str] = []

    def once(name: str, *, dir_fd: int | None = None) -> None:
        tries.append(name)
        if len(tries) > 1:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(name, dir_fd=dir_fd)

    with tools.state.locked():
        journal.begin(tools.state, Begun(transaction="t", verb=Verb.INSTALL, boot=""))
        journal.staged(tools.state, Staged(steps=()))
        journal.verdict(tools.state, Verdict(generation=1))
        state = machine.root / "var/lib/ashore"
        (state / "journal").rename(state / "journal.done")
        monkeypatch.setattr(os, "unlink", once)
        with pytest.raises(ChangedError):
            recover(tools)
        monkeypatch.undo()
        assert len(list((state / "journal.done").iterdir())) == 2
        assert recover(tools) is Recovered.FORWARD


def test_the_boot_ends_what_was_cut_short_in_its_last_sweep() -> None:
    """Else what a journal had set aside stays until the next change."""
    assert "ConditionPathExists=|/var/lib/ashore/journal.done" in RECOVER_TEXT.splitlines()


def test_a_note_of_what_a_step_began_is_missed(machine: Machine) -> None:
    """Its undo would be left out, and nobody would know."""
    tools = machine.tools()
    step = BundleStep(name="drain", phase=Phase.BEFORE, command=("drain",), reason="r", within=1.0)
    with tools.state.locked():
        journal.begin(tools.state, Begun(transaction="t", verb=Verb.INSTALL, boot=""))
        journal.staged(tools.state, Staged(steps=(), commands=(PlannedStep(bundle="b", step=step),)))
        left = journal.read(tools.state)
        assert left is not None and left.ran == ()
        (machine.root / "var/lib/ashore/journal/2-ran.json").unlink()
        with pytest.raises(ChangedError, match="damaged"):
            recover(tools)


def test_a_transaction_without_its_journal_is_not_passed_over(machine: Machine) -> None:
    """What it displaced lies in its staging folder, and nothing says what it had done."""
    tools = machine.tools()
    with tools.state.locked():
        (machine.root / "var/lib/ashore/stage/t").mkdir()
        with pytest.raises(ChangedError, match="damaged"):
            recover(tools)
    machine.images.add("reg.example/a:1", {"etc/a": "a\n"})
    with pytest.raises(ChangedError, match="damaged"):
        machine.install("reg.example/a:1")


ONE, TWO = "reg.example/a:1", "reg.example/a:2"


class Disk:
    """A file system of its own kind, as far as renames tell, that is mounted on a folder of the host, or not."""

    def __init__(self, machine: Machine) -> None:
        self.source, self.target = machine.folder / "disk", machine.root / "opt"
        self.source.mkdir()
        self.mounted = False

    def mount(self) -> None:
        subprocess.run(["mount", "--bind", self.source, self.target], check=True)
        self.mounted = True

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.target], check=True)
        self.mounted = False


@pytest.fixture
def disk(machine: Machine) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts")
    disk = Disk(machine)
    yield disk
    if disk.mounted:
        disk.unmount()


def killed(machine: Machine, of: object, name: str, *, call: int = 1) -> None:
    """Upgrade from ONE to TWO, and be killed before so many calls of one function."""
    child = os.fork()
    if child == 0:
        real, left = getattr(of, name), [call]

        def counted(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(of, name, counted)
        try:
            machine.install(TWO)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def both(machine: Machine) -> None:
    """Two versions, and the first is there."""
    for image, text in ((ONE, "one\n"), (TWO, "two\n")):
        machine.images.add(image, {"etc/a": text, "opt/f": f"f {text}", "opt/g": f"g {text}"})
    machine.install(ONE)
    machine.images.down = True  # what is kept is kept here


def recovered(machine: Machine) -> Recovered:
    tools = machine.tools()
    with tools.state.locked():
        return recover(tools)


@pytest.mark.parametrize(
    ("of", "name", "call", "ends"),
    [(syscalls, "exchange", 3, Recovered.BACK), (transaction, "finish", 1, Recovered.FORWARD)],
    ids=["swap", "verdict"],
)
def test_a_mount_that_a_killed_change_had_touched_is_waited_for(
    machine: Machine, disk: Disk, of: object, name: str, call: int, ends: Recovered
) -> None:
    """Its staging folder was taken for swept: half of the change stayed, or what it had displaced was forgotten."""
    disk.mount()
    both(machine)
    old = machine.tree()
    machine.images.down = False
    killed(machine, of, name, call=call)
    machine.images.down = True
    mix = machine.tree()
    disk.unmount()
    without, journal_names = machine.tree(), sorted(os.listdir(machine.root / "var/lib/ashore/journal"))
    for _ in range(2):
        with pytest.raises(ChangedError, match="/opt: is not mounted now"):
            recovered(machine)
        assert machine.tree() == without
        assert sorted(os.listdir(machine.root / "var/lib/ashore/journal")) == journal_names
    disk.mount()
    assert machine.tree() == mix
    assert recovered(machine) is ends
    assert recovered(machine) is Recovered.NOTHING
    assert machine.leftovers() == []
    if ends is Recovered.FORWARD:
        assert machine.read("opt/g") == "g two\n"
        machine.roll_back()
    assert machine.tree() == old


def test_a_staging_folder_that_is_swept_is_not_waited_for(machine: Machine, disk: Disk) -> None:
    disk.mount()
    both(machine)
    machine.images.down = False
    killed(machine, journal, "drop")
    assert not machine.exists("opt/.ashore")
    assert recovered(machine) is Recovered.FORWARD
    assert machine.leftovers() == []


def test_a_mount_that_came_over_what_a_killed_change_had_touched_is_no_way_back(machine: Machine, disk: Disk) -> None:
    """Other files lie on those paths then: the change was taken for not made, and what it had displaced was lost."""
    both(machine)
    old = machine.tree()
    machine.images.down = False
    killed(machine, syscalls, "exchange", call=3)
    disk.mount()
    with pytest.raises(ChangedError, match=r"/opt: .*\(unmount it\)"):
        recovered(machine)
    disk.unmount()
    assert recovered(machine) is Recovered.BACK
    assert machine.tree() == old
    assert machine.leftovers() == []


class Mounting(FakeSystemd):
    """Its opt.mount mounts the disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk
        self.add("opt.mount")

    def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        for action in actions:
            if action.unit == "opt.mount":
                (self.disk.unmount if action.verb is UnitVerb.STOP else self.disk.mount)()
        return super().run(actions, deadline)


def test_what_a_killed_change_had_mounted_over_its_own_files_is_unmounted_first(machine: Machine, disk: Disk) -> None:
    """Nobody else can be asked to: it is the change's unit that mounts it, and that stops with the change."""
    machine.systemd = systemd = Mounting(disk)
    mount = "[Mount]\nWhat=/disk\nWhere=/opt\n[Install]\nWantedBy=multi-user.target\n"
    machine.images.add(ONE, {"opt/f": "one\n"})
    machine.images.add(TWO, {"opt/f": "two\n", "etc/systemd/system/opt.mount": mount})
    machine.install(ONE)
    old = machine.tree()
    killed(machine, steps, "run_after")
    systemd.add("opt.mount", running=True)
    disk.mounted = True
    assert recovered(machine) is Recovered.BACK
    assert not disk.mounted
    assert machine.tree() == old
    assert machine.leftovers() == []
