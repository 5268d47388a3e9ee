# SPDX-License-Identifier: Apache-2.0
"""After a change that failed, the units of a live root are as they were before: those that it acted on, those that it
set going or took down by the way, and those that it never reached."""

import errno
import json
import os
from collections.abc import Callable, Sequence

import msgspec
import pytest

from ashore.acts.change import install as stories
from ashore.acts.transaction import transaction
from ashore.acts.transaction.recover import recover
from ashore.cli.progress import Quiet
from ashore.errors import AshoreError, ChangedError, UnitsFailedError
from ashore.mechanisms.stage import swap
from ashore.mechanisms.state import journal
from ashore.nouns.journal import Recovered
from ashore.nouns.units import JobResult, UnitAction, UnitVerb
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
UNITS = "etc/systemd/system/"
UNIT = "[Service]\nExecStart=/opt/bin/{}\n[Install]\nWantedBy=multi-user.target\n"
APP, BAD = UNITS + "app.service", UNITS + "bad.service"
RELOAD = '[[files]]\npath = "etc/app.conf"\nreload = ["app.service"]\n'
BEFORE, AFTER = (
    f'[[step]]\nname = "x"\nphase = "{phase}"\nreason = "a test"\ncommand = ["no", "such"]\n'
    for phase in ("before", "after")
)
"""A step that fails."""


@pytest.fixture
def systemd() -> FakeSystemd:
    found = FakeSystemd()
    found.add("app.service", can_reload=True)
    found.add("bad.service", Behaviour.FAILS)
    return found


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    return host


def fails(live: Machine, systemd: FakeSystemd, name: str = TWO) -> list[str]:
    """What PID 1 is asked for by a change that fails."""
    before = live.tree()
    systemd.log.clear()
    with pytest.raises(UnitsFailedError):
        live.install(name)
    assert live.tree() == before
    return systemd.log


def as_asked(systemd: FakeSystemd, react: Callable[[Sequence[UnitAction]], None]) -> None:
    """Call `react` with what PID 1 is asked for, before it is done."""
    real_run = systemd.run

    def run(actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        react(actions)
        return real_run(actions, deadline)

    systemd.run = run  # type: ignore[method-assign]


def test_what_had_only_to_be_reloaded_is_left_alone_where_no_unit_was_reached(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.images.add(ONE, {APP: UNIT.format("app"), "etc/app.conf": "1"}, RELOAD)
    live.images.add(TWO, {APP: UNIT.format("app"), "etc/app.conf": "2"}, RELOAD + BEFORE)
    live.install(ONE)
    assert fails(live, systemd) == []


def test_what_was_reloaded_is_reloaded_once_more(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {APP: UNIT.format("app"), "etc/app.conf": "1"}, RELOAD)
    live.images.add(TWO, {APP: UNIT.format("app"), "etc/app.conf": "2", BAD: UNIT.format("bad")}, RELOAD)
    live.install(ONE)
    log = fails(live, systemd)
    assert [line for line in log if "app.service" in line] == ["reload app.service"] * 2
    assert log[-1] == "reload app.service"


def test_what_does_not_reload_on_the_way_back_is_restarted(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {APP: UNIT.format("app"), "etc/app.conf": "1"}, RELOAD)
    live.images.add(TWO, {APP: UNIT.format("app"), "etc/app.conf": "2", BAD: UNIT.format("bad")}, RELOAD)
    live.install(ONE)

    def stumbles(actions: Sequence[UnitAction]) -> None:
        systemd.units["app.service"].can_reload = live.read("etc/app.conf") == "2"

    as_asked(systemd, stumbles)
    assert fails(live, systemd)[-2:] == ["reload app.service", "restart app.service"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_kill_leaves_word_whether_units_were_reached(live: Machine, systemd: FakeSystemd, begun: bool) -> None:
    live.images.add(ONE, {APP: UNIT.format("app"), "etc/app.conf": "1"}, RELOAD)
    live.images.add(TWO, {APP: UNIT.format("app"), "etc/app.conf": "2"}, RELOAD + BEFORE)
    live.install(ONE)
    systemd.log.clear()

    class Killed(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            os._exit(9)

    child = os.fork()
    if child == 0:
        live.systemd = Killed(systemd.units)
        live.programs.commands["no such"] = (lambda: "") if begun else (lambda: os._exit(9))
        live.install(TWO)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    tools = live.tools()
    with tools.state.locked():
        recover(tools)
    assert live.read("etc/app.conf") == "1"
    assert systemd.log == (["reload app.service"] if begun else [])
    told = [json.loads(line) for line in live.read("var/lib/ashore/audit.jsonl").splitlines()]
    assert [(line["verb"], line["generation"]) for line in told if "failed" in line and "step" not in line] == [
        ("install", 1)
    ], "it is written down as of any that failed"


def running(systemd: FakeSystemd) -> set[str]:
    return {name for name, unit in systemd.units.items() if unit.active == "active"}


def test_what_new_units_pulled_in_stops_with_them(live: Machine, systemd: FakeSystemd) -> None:
    """A helper of the bundle, and units of the host: one that ran before, and what only this change set going."""
    systemd.units["bad.service"].pulls = ("helper.service", "host.target", "ran.service")
    for name in ("helper.service", "deeper.service", "host.target", "nobody.service"):
        systemd.add(name)
    systemd.units["host.target"].pulls = ("deeper.service",)
    systemd.add("ran.service", running=True, needed_by=("bad.service",))

    def somebody_starts_another(actions: Sequence[UnitAction]) -> None:
        systemd.units["nobody.service"].active = "active"

    as_asked(systemd, somebody_starts_another)
    live.images.add(TWO, {BAD: UNIT.format("bad"), UNITS + "helper.service": "[Service]\nExecStart=/x\n"})
    log = fails(live, systemd)
    assert running(systemd) == {"ran.service", "nobody.service"}
    stopped = [at for at, line in enumerate(log) if line.startswith("stop")]
    assert stopped and max(stopped) < len(log) - 1 - log[::-1].index("daemon-reload"), "while its file is there"


def test_what_a_new_socket_started_stops_with_it(live: Machine, systemd: FakeSystemd) -> None:
    systemd.add("app.socket", triggers=("app.service",))
    systemd.add("app@1.service")

    def a_client_comes(actions: Sequence[UnitAction]) -> None:
        for name in ("app.service", "app@1.service"):
            systemd.units[name].active = "active"

    as_asked(systemd, a_client_comes)
    socket = "[Socket]\nListenStream=80\n[Install]\nWantedBy=sockets.target\n"
    tree = {UNITS + "app.socket": socket, APP: "[Service]\nExecStart=/x\n", UNITS + "app@.service": "[Service]\n"}
    live.images.add(TWO, tree, AFTER)
    fails(live, systemd)
    assert running(systemd) == set()


@pytest.mark.parametrize("link", ["needed_by", "wanted_by"])
def test_what_somebody_else_needs_by_now_runs_on(live: Machine, systemd: FakeSystemd, link: str) -> None:
    systemd.units["bad.service"].pulls = ("base.service",)
    setattr(systemd.add("base.service"), link, ("bad.service", "other.service"))
    systemd.add("other.service")

    def somebody_starts_another(actions: Sequence[UnitAction]) -> None:
        if any(action.verb is UnitVerb.START for action in actions):
            systemd.units["other.service"].active = "active"

    as_asked(systemd, somebody_starts_another)
    live.images.add(TWO, {BAD: UNIT.format("bad")})
    fails(live, systemd)
    assert running(systemd) == {"base.service", "other.service"}


class Reloading(FakeSystemd):
    """Units have the files that a machine has, as of the last daemon-reload."""

    def __init__(self, live: Machine) -> None:
        super().__init__()
        self.live = live

    def daemon_reload(self) -> None:
        super().daemon_reload()
        for name, unit in self.units.items():
            there = self.live.exists(UNITS + name) or self.live.exists(f"usr/lib/systemd/system/{name}")
            unit.load = "loaded" if there else "not-found"


def test_what_is_dropped_and_started_once_more_by_what_still_runs_is_stopped_again(host: Machine) -> None:
    """A unit that upholds it, or a path unit, runs on with its old file until the daemon-reload."""
    systemd = host.systemd = Reloading(host)
    held = UNITS + "held.service"
    host.images.add(ONE, {APP: "[Unit]\nUpholds=held.service\n" + UNIT.format("app"), held: UNIT.format("held")})
    host.images.add(TWO, {APP: UNIT.format("app")})
    systemd.add("app.service")
    systemd.add("held.service")
    host.install(ONE)
    real_reload = systemd.daemon_reload

    def comes_back() -> None:
        assert systemd.log[-1] == "stop held.service"
        systemd.units["held.service"].active = "active"
        real_reload()

    systemd.daemon_reload = comes_back  # type: ignore[method-assign]
    systemd.log.clear()
    host.install(TWO)
    assert systemd.log == ["stop held.service", "daemon-reload", "stop held.service", "restart app.service"]
    assert running(systemd) == {"app.service"}


def test_what_nobody_may_stop_runs_on_without_its_file(host: Machine) -> None:
    systemd = host.systemd = Reloading(host)
    host.images.add(ONE, {APP: UNIT.format("app")})
    systemd.add("app.service", can_stop=False)
    host.install(ONE)
    assert host.remove("app").plan.notes == ("app.service may not be stopped by hand: it runs on until the next boot",)
    assert running(systemd) == {"app.service"}


def test_what_comes_back_while_a_failed_change_is_undone_does_not_stay(host: Machine) -> None:
    systemd = host.systemd = Reloading(host)
    systemd.add("bad.service", Behaviour.FAILS)
    systemd.add("helper.service")
    real_reload = systemd.daemon_reload

    def comes_back() -> None:
        systemd.units["helper.service"].active = "active"
        real_reload()

    systemd.daemon_reload = comes_back  # type: ignore[method-assign]
    host.images.add(TWO, {BAD: UNIT.format("bad"), UNITS + "helper.service": "[Service]\nExecStart=/x\n"})
    fails(host, systemd)
    assert running(systemd) == set()


@pytest.mark.parametrize("word", ["before", "after"])
def test_a_oneshot_that_ended_meanwhile_is_not_run_once_more(live: Machine, systemd: FakeSystemd, word: str) -> None:
    """Reached or not: what was in the middle of its work, and is done, has run."""
    live.images.add(ONE, {APP: UNIT.format("app"), "etc/app.conf": "1"}, RELOAD)
    job = {APP: UNIT.format("app"), "etc/app.conf": "2"}
    live.images.add(TWO, job, RELOAD + f'[[step]]\nname = "y"\nphase = "{word}"\nreason = "r"\ncommand = ["ends"]\n')
    live.install(ONE)
    unit = systemd.units["app.service"]
    unit.behaviour, unit.active, unit.sub = Behaviour.ENDS, "activating", "start"

    def ends() -> str:
        unit.active, unit.sub = "inactive", "dead"
        raise AshoreError("it failed")

    live.programs.commands["ends"] = ends
    assert not [line for line in fails(live, systemd) if "start app.service" in line]
    assert unit.active == "inactive"


@pytest.mark.parametrize(("active", "stopped"), [("inactive", False), ("inactive", True), ("failed", False)])
def test_what_went_down_before_anything_was_reached_is_left_so_unless_it_failed(
    live: Machine, systemd: FakeSystemd, active: str, stopped: bool
) -> None:
    live.images.add(ONE, {APP: UNIT.format("app")})
    live.images.add(TWO, {APP: UNIT.format("app") + "# 2\n", "usr/lib/tmpfiles.d/app.conf": "d /var/lib/app\n"})
    live.install(ONE)
    unit = systemd.units["app.service"]

    def goes_down(argv: Sequence[str], **_: object) -> str:
        unit.active, unit.stopped = active, stopped
        raise AshoreError("it failed")

    live.programs.run = goes_down  # type: ignore[method-assign]
    log = fails(live, systemd)
    assert ("start app.service" in log) == (active == "failed")


class Saying(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def _had_failed(live: Machine, systemd: FakeSystemd, more: str) -> None:
    live.images.add(ONE, {APP: UNIT.format("app")})
    live.images.add(TWO, {APP: UNIT.format("app") + "# 2\n"}, more)
    live.install(ONE)
    systemd.units["app.service"].active = "failed"


def test_what_had_failed_before_and_was_not_acted_on_is_still_listed_so(live: Machine, systemd: FakeSystemd) -> None:
    _had_failed(live, systemd, BEFORE)
    fails(live, systemd)
    assert systemd.units["app.service"].active == "failed"


def test_what_had_failed_before_and_fails_again_is_still_listed_so(live: Machine, systemd: FakeSystemd) -> None:
    _had_failed(live, systemd, "")
    systemd.units["app.service"].behaviour = Behaviour.FAILS
    assert "start app.service" in fails(live, systemd)
    assert systemd.units["app.service"].active == "failed"


def test_of_what_had_failed_before_and_came_up_it_is_said_that_it_is_only_stopped(
    live: Machine, systemd: FakeSystemd
) -> None:
    _had_failed(live, systemd, AFTER)
    saying = Saying()
    tools = msgspec.structs.replace(live.tools(), progress=saying)
    with pytest.raises(UnitsFailedError):
        stories.install(tools, [live.ask(TWO)])
    assert systemd.units["app.service"].active == "inactive"
    assert "app.service had failed before; it was started, and is stopped now" in saying.lines


def test_an_image_is_held_also_where_the_way_back_fails_and_nobody_says_that_all_is_as_before(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.images.add(ONE, {APP: UNIT.format("app")})
    live.images.add(TWO, {APP: UNIT.format("app") + "# 2\n"})
    live.install(ONE)
    systemd.units["app.service"].behaviour = Behaviour.FAILS
    with pytest.raises(ChangedError) as raised:
        live.install(TWO)
    assert "app.service" in raised.value.cause and raised.value.issues[0].where == "app.service"
    (held,) = live.tools().history.held().values()
    assert held.reference == TWO and "app.service" in held.reason
    audit = live.read("var/lib/ashore/audit.jsonl").splitlines()[-1]
    assert "not brought back: app.service" in audit
    assert "as it was before" not in f"{raised.value} {held.reason} {audit}"


def test_a_disk_that_fails_on_the_way_back_is_no_host_as_it_was(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it does not even tell whether there is a journal, for what is to be said of it."""
    host.images.add(ONE, {"etc/app.conf": "1"})
    host.images.add(TWO, {"etc/app.conf": "2"})
    host.install(ONE)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def breaks(*_: object) -> None:
        monkeypatch.setattr(journal, "exists", broken)
        monkeypatch.setattr(swap, "undo", broken)
        broken()

    monkeypatch.setattr(transaction, "sync_swapped", breaks)
    with pytest.raises(ChangedError) as raised:
        host.install(TWO)
    assert raised.value.remedy.endswith("run: ashore recover")
    monkeypatch.undo()
    assert (host.read("etc/app.conf"), recover(host.tools())) == ("2", Recovered.BACK)
    assert host.read("etc/app.conf") == "1"
