# SPDX-License-Identifier: Apache-2.0
"""What gives way to a unit of a bundle, by ``Conflicts=``: planned, back after a failure, and when the unit goes."""

import os

import pytest

from ashore.acts.boot.confirm import take_back_in_time
from ashore.acts.boot.early import recover_at_boot
from ashore.acts.change import preview
from ashore.errors import UnitsFailedError
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine

ONE, TWO = "reg.example/app:1", "reg.example/app:2"
APP = "etc/systemd/system/app.service"
UNIT = "[Service]\nExecStart=/opt/app\n[Install]\nWantedBy=multi-user.target\n"
CONFLICTING = "[Unit]\nConflicts=victim.service\n" + UNIT


@pytest.fixture
def systemd() -> FakeSystemd:
    found = FakeSystemd()
    found.add("app.service", conflicts=("victim.service",))
    found.add("victim.service", running=True, needed_by=("needs.service",))
    found.add("needs.service", running=True)
    return found


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    host.images.add(ONE, {APP: CONFLICTING})
    return host


def running(systemd: FakeSystemd) -> set[str]:
    return {name for name, unit in systemd.units.items() if unit.active == "active"}


def test_it_is_in_the_plan_with_what_needs_it(live: Machine, systemd: FakeSystemd) -> None:
    plan = preview.plan_install(live.tools(), [live.ask(ONE)])[0]
    assert [f"{stop.unit}: {stop.reason}" for stop in plan.stops] == [
        "victim.service: it conflicts with app.service, which starts",
        "needs.service: it goes down with victim.service",
    ]
    live.install(ONE)
    assert running(systemd) == {"app.service"}


def test_it_is_back_after_a_failure(live: Machine, systemd: FakeSystemd) -> None:
    systemd.units["app.service"].behaviour = Behaviour.FAILS
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert running(systemd) == {"victim.service", "needs.service"}


@pytest.mark.parametrize("verb", ["remove", "rollback", "drop"])
def test_it_is_back_when_the_unit_goes_or_conflicts_no_more(live: Machine, systemd: FakeSystemd, verb: str) -> None:
    live.images.add(TWO, {APP: CONFLICTING, "etc/app": "2"})
    live.images.add("reg.example/app:3", {APP: UNIT})
    live.install(ONE)
    live.install(TWO)
    assert running(systemd) == {"app.service"}, "a change in between does not forget it"
    if verb == "remove":
        live.remove("app")
    elif verb == "rollback":
        live.roll_back()
        assert running(systemd) == {"app.service"}
        live.remove("app")
    else:
        systemd.units["app.service"].conflicts = ()
        live.install("reg.example/app:3")
    assert {"victim.service", "needs.service"} <= running(systemd)
    assert live.tools().history.current().gave_way == {}


def test_what_did_not_run_gives_no_way_and_is_not_started(live: Machine, systemd: FakeSystemd) -> None:
    for name in ("victim.service", "needs.service"):
        systemd.units[name].active = "inactive"
    live.install(ONE)
    live.remove("app")
    assert running(systemd) == set()


def test_a_running_unit_that_says_so_itself_gives_way_as_well(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {APP: UNIT})
    app = systemd.units["app.service"]
    app.conflicts, app.conflicted_by = (), ("victim.service",)
    assert live.install(ONE).plan.stops[0].unit == "victim.service"
    live.remove("app")
    assert running(systemd) == {"victim.service", "needs.service"}


def test_what_another_bundle_wants_gives_no_way(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add("reg.example/other:1", {"etc/systemd/system/victim.service": UNIT})
    live.install("reg.example/other:1")
    with pytest.raises(UnitsFailedError, match=r"victim\.service.*it ran before this change"):
        live.install(ONE)
    assert running(systemd) == {"victim.service", "needs.service"}


def test_what_nobody_may_stop_gives_way_as_it_starts_and_is_back_after_a_failure(
    live: Machine, systemd: FakeSystemd
) -> None:
    systemd.units["victim.service"].can_stop = False
    plan = preview.plan_install(live.tools(), [live.ask(ONE)])[0]
    assert [stop.unit for stop in plan.stops] == ["needs.service"]
    assert "victim.service stops, since it conflicts with app.service, which starts" in plan.notes
    systemd.units["app.service"].behaviour = Behaviour.FAILS
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert running(systemd) == {"victim.service", "needs.service"}
    systemd.units["app.service"].behaviour = Behaviour.STAYS
    live.install(ONE)
    assert running(systemd) == {"app.service"}
    live.remove("app")
    assert running(systemd) == {"victim.service", "needs.service"}


def test_what_nobody_may_start_does_not_keep_the_unit_from_its_removal(live: Machine, systemd: FakeSystemd) -> None:
    systemd.units["victim.service"].can_start = False
    live.install(ONE)
    note = "victim.service had given way to app.service, and may not be started by hand"
    assert note in live.remove("app").plan.notes
    assert "victim.service" not in running(systemd)
    assert live.tools().history.current().gave_way == {}


def test_what_gave_way_to_a_unit_that_goes_stays_down_beside_its_successor(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(TWO, {"etc/systemd/system/other.service": CONFLICTING})
    systemd.add("other.service", conflicts=("victim.service",))
    systemd.units["victim.service"].conflicted_by = ("app.service", "other.service")
    systemd.units["needs.service"].pulls = ("victim.service",)
    live.install(ONE)
    live.install(TWO)
    assert running(systemd) == {"other.service"}
    live.remove("app")
    assert running(systemd) == {"victim.service", "needs.service"}


def test_what_gave_way_to_two_is_back_when_both_are_gone(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add("reg.example/other:1", {"etc/systemd/system/other.service": CONFLICTING})
    systemd.add("other.service", conflicts=("victim.service",))
    systemd.units["victim.service"].conflicted_by = ("app.service", "other.service")
    systemd.units["needs.service"].pulls = ("victim.service",)
    live.install(ONE)
    live.install("reg.example/other:1")
    live.remove("app")
    assert running(systemd) == {"other.service"}
    live.remove("other")
    assert running(systemd) == {"victim.service", "needs.service"}


def test_what_somebody_else_runs_in_the_place_of_it_is_not_taken_down(live: Machine, systemd: FakeSystemd) -> None:
    live.install(ONE)
    systemd.add("by-hand.service", running=True, conflicts=("victim.service",))
    systemd.units["victim.service"].conflicted_by = ("app.service", "by-hand.service")
    systemd.units["needs.service"].pulls = ("victim.service",)
    live.remove("app")
    assert running(systemd) == {"by-hand.service"}
    assert live.tools().history.current().gave_way == {}


def after_a_boot(live: Machine) -> FakeSystemd:
    """A host that comes up, whose PID 1 has left the victim out since app.service is enabled and conflicts with it."""
    booted = FakeSystemd()
    booted.add("multi-user.target", running=True)
    booted.add("some.timer", running=True)
    booted.add("ashore-unconfirmed.timer")
    booted.add("victim.service", wanted_by=("multi-user.target",), needed_by=("needs.service",))
    booted.add("needs.service", wanted_by=("some.timer",))
    live.systemd, live.boot = booted, "boot-2"
    return booted


def test_it_starts_with_the_boot_that_takes_an_unconfirmed_change_back(live: Machine, systemd: FakeSystemd) -> None:
    systemd.add("sysinit.target", running=True)
    systemd.add("ashore-unconfirmed.timer")
    live.install(ONE, confirm=60)
    booted = after_a_boot(live)
    assert take_back_in_time(live.tools()).taken_back
    assert booted.log[-1] == "start victim.service, later", "what is not enabled starts with what needs it"


@pytest.mark.parametrize("in_the_way", [False, True])
def test_it_starts_with_the_boot_that_recovers(live: Machine, systemd: FakeSystemd, in_the_way: bool) -> None:
    class PowerCut(FakeSystemd):
        def daemon_reload(self) -> None:
            os._exit(9)

    child = os.fork()
    if child == 0:
        live.systemd = PowerCut(systemd.units)
        live.install(ONE)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    booted = after_a_boot(live)
    if in_the_way:
        booted.add("by-hand.service", running=True, conflicts=("victim.service",))
        booted.units["victim.service"].conflicted_by = ("by-hand.service",)
    assert recover_at_boot(live.tools()).startswith("went back")
    started = [line for line in booted.log if line != "daemon-reload"]
    assert started == ([] if in_the_way else ["start victim.service, later"])
