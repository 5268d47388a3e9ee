# SPDX-License-Identifier: Apache-2.0
"""A host that was only ever given a change recovers at boot all the same: the change places the unit for it."""

import os

import msgspec
import pytest

from ashore.acts.ask.look import diff, owns, status
from ashore.acts.boot.early import recover_at_boot
from ashore.acts.change.farewell import farewell, unmake
from ashore.acts.change.install import install
from ashore.acts.change.preview import plan_install
from ashore.acts.tools import Tools
from ashore.acts.transaction import transaction
from ashore.cli.service import settled_by_pid1
from ashore.errors import AshoreError, ChangedError
from ashore.mechanisms.own import ownunits
from ashore.rules.provision.hostunits import RECOVER_LINK, RECOVER_PATH, RECOVER_TEXT, recover_units
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_at_boot import IMAGE, UNIT, UNIT_PATH, tree
from tests.flow.test_at_boot import host as host


class Said:
    """What was said on the way."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, name: str, total: int) -> None: ...
    def advance(self, name: str, amount: int) -> None: ...
    def end(self, name: str) -> None: ...
    def say(self, line: str) -> None:
        self.lines.append(line)


def by(host: Machine, *program: str) -> tuple[Tools, Said]:
    """The tools of an ashore that is started as `program`."""
    said = Said()
    return msgspec.structs.replace(host.tools(), program=program, progress=said), said


def test_a_host_recovers_at_boot_from_its_first_change_on(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real, there = transaction.carry_out, []

    def carry_out(*arguments: object, **more: object) -> object:
        there.append((host.read(RECOVER_PATH), os.readlink(host.root / RECOVER_LINK)))
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("ashore.acts.change.install.carry_out", carry_out)
    host.install(IMAGE)
    assert there == [(RECOVER_TEXT, "../ashore-recover.service")], "before a path of the host is touched"
    marks = host.marks(RECOVER_PATH)
    host.images.add(IMAGE, tree("two"))
    host.upgrade()
    assert host.marks(RECOVER_PATH) == marks, "nobody writes it again"
    assert owns(host.tools(), RECOVER_PATH) is None and diff(host.tools()) == ()
    host.remove("worker")
    assert host.exists(RECOVER_PATH), "there is a way back"
    farewell(host.tools())
    assert not host.exists(RECOVER_PATH) and not host.exists(RECOVER_LINK)


def test_what_is_refused_and_an_offline_root_get_no_unit(host: Machine) -> None:
    host.write("opt/bin/app", "somebody's")
    with pytest.raises(AshoreError):
        host.install(IMAGE)
    assert not host.exists(RECOVER_PATH)
    (host.root / "opt/bin/app").unlink()
    host.systemd = None
    host.install(IMAGE)
    assert not host.exists(RECOVER_PATH)


def test_a_change_makes_the_folder_that_the_unit_is_enabled_in_or_takes_it_away(host: Machine) -> None:
    assert isinstance(host.systemd, FakeSystemd)
    host.images.add(IMAGE, {UNIT_PATH: UNIT.replace("multi-user", "sysinit")})
    before = host.tree()
    host.install(IMAGE)
    for path in (RECOVER_PATH, RECOVER_LINK):  # as an ashore leaves it that placed none
        (host.root / path).unlink()
    host.remove("worker")
    assert host.exists(RECOVER_LINK)
    assert host.tree() == before


def test_the_unit_follows_the_program_that_changes_the_host(host: Machine) -> None:
    assert isinstance(host.systemd, FakeSystemd)
    host.install(IMAGE)
    for number, program in enumerate((("/srv/my ashore/bin/ashore",), ("/usr/bin/python3", "-m", "ashore"))):
        host.images.add(IMAGE, tree(str(number)))
        tools, said = by(host, *program)
        host.systemd.log.clear()
        install(tools, [host.ask(IMAGE)])
        assert host.read(RECOVER_PATH) == recover_units(program)[RECOVER_PATH]
        assert "daemon-reload" in host.systemd.log
        assert not any("power cut" in line for line in said.lines)
    assert "ExecStart=/usr/bin/python3 -m ashore recover --at-boot\n" in host.read(RECOVER_PATH)
    host.images.add(IMAGE, tree("by one that is gone after a boot"))
    tools, said = by(host, "/tmp/venv/bin/ashore")
    install(tools, [host.ask(IMAGE)])
    assert "/usr/bin/python3" in host.read(RECOVER_PATH), "another one recovers"
    assert not any("power cut" in line for line in said.lines)


@pytest.mark.parametrize("why", ["/tmp/venv/bin/ashore is not there", "cannot write ashore-recover.service"])
def test_where_nothing_can_recover_at_boot_the_change_says_so(
    host: Machine, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why.startswith("cannot"):
        monkeypatch.setattr("ashore.mechanisms.own.ownunits.place", _read_only)
    tools, said = by(host, "/opt/bin/ashore" if why.startswith("cannot") else why.split()[0])
    install(tools, [host.ask(IMAGE)])
    assert host.read("opt/bin/app") == "one"
    (line,) = (line for line in said.lines if "power cut" in line)
    assert why in line
    assert not host.exists(RECOVER_PATH)


def _read_only(*_: object) -> bool:
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("mask", [True, False], ids=["a mask", "one of somebody else"])
def test_what_somebody_wrote_in_place_of_the_unit_stays(host: Machine, mask: bool) -> None:
    if mask:
        (host.root / RECOVER_PATH).symlink_to("/dev/null")
    else:
        host.write(RECOVER_PATH, "[Service]\nExecStart=/usr/bin/mine\n")
    before = os.lstat(host.root / RECOVER_PATH).st_ctime_ns
    host.install(IMAGE)
    assert os.lstat(host.root / RECOVER_PATH).st_ctime_ns == before
    assert not host.exists(RECOVER_LINK)
    host.remove("worker")
    farewell(host.tools())
    assert os.lstat(host.root / RECOVER_PATH).st_ctime_ns == before


def test_a_boot_leaves_a_mask_as_well(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / RECOVER_PATH).symlink_to("/dev/null")
    monkeypatch.setattr("ashore.cli.service.bring_to_pid1", lambda *_, **__: 0)
    monkeypatch.setattr("ashore.cli.service.followed", lambda _: False)
    monkeypatch.delenv("ASHORE_CARRIES_OUT", raising=False)
    assert settled_by_pid1(host.tools(), follow=False) == 0
    assert (host.root / RECOVER_PATH).is_symlink() and not host.exists(RECOVER_LINK)


@pytest.mark.parametrize("empty", [False, True], ids=["gone", "a folder without its mount"])
def test_a_state_that_is_gone_makes_no_fresh_host(host: Machine, empty: bool) -> None:
    """Taken for one, what bundles placed would be somebody's own, and be given back as that."""
    host.install(IMAGE)
    state, elsewhere = host.root / "var/lib/ashore", host.folder / "elsewhere"
    state.rename(elsewhere)
    if empty:
        state.mkdir()
    before = host.tree()
    acts = (
        lambda: status(host.tools()),
        lambda: plan_install(host.tools(), [host.ask(IMAGE)]),
        lambda: host.install(IMAGE, adopt_all=True),
        lambda: host.remove("worker"),
        lambda: recover_at_boot(host.tools()),
        lambda: farewell(host.tools()),
    )
    for act in acts:
        with pytest.raises(ChangedError, match="state is not there: /var/lib/ashore") as refused:
            act()
        assert refused.value.remedy.endswith("to start anew: rm /etc/systemd/system/ashore-recover.service")
    assert host.tree() == before and list(state.glob("*")) == []
    if empty:
        state.rmdir()
    elsewhere.rename(state)
    assert status(host.tools()).generation.number == 1
    state.rename(elsewhere)
    (host.root / RECOVER_PATH).unlink()
    assert host.install(IMAGE, adopt_all=True).generation.number == 1


@pytest.mark.parametrize("by_boot", [False, True])
def test_a_state_is_there_before_the_unit_that_tells_of_it(
    host: Machine, monkeypatch: pytest.MonkeyPatch, by_boot: bool
) -> None:
    """Cut short at any time, the first change leaves no host that takes its own beginning for a loss."""
    real = ownunits.place

    def cut_short(*arguments: object) -> bool:
        real(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(ownunits, "place", cut_short)
    with pytest.raises(KeyboardInterrupt):
        settled_by_pid1(host.tools(), follow=False) if by_boot else host.install(IMAGE)
    monkeypatch.undo()
    assert host.exists(RECOVER_PATH)
    assert status(host.tools()).generation.number == 0
    assert host.install(IMAGE).generation.number == 1


def test_whoever_was_refused_first_leaves_the_state_to_a_boot_that_places_the_unit(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken away between the two, it would be told as lost from then on."""
    real, other = ownunits.place, host.tools()
    other.state.prepare()

    def place(*arguments: object) -> bool:
        unmake(other)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ownunits, "place", place)
    monkeypatch.setattr("ashore.cli.service.bring_to_pid1", lambda *_, **__: 0)
    monkeypatch.setattr("ashore.cli.service.followed", lambda _: False)
    monkeypatch.delenv("ASHORE_CARRIES_OUT", raising=False)
    assert settled_by_pid1(host.tools(), follow=False) == 0
    assert host.exists(RECOVER_PATH)
    assert status(host.tools()).generation.number == 0
