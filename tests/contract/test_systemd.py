# SPDX-License-Identifier: Apache-2.0
"""What everything that calls itself `ports.Systemd` does: the fake, and PID 1 of a booted host on both its doors."""

import time
from collections.abc import Callable, Iterator

import pytest

from ashore.mechanisms.pid1 import systemd
from ashore.nouns.ports import Systemd
from ashore.nouns.units import UnitAction, UnitState, UnitVerb
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.system import lab
from tests.system.conftest import require_real

# The same behaviours, as unit files for the real one.
UNITS = {
    "stays.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000"),
    "reloads.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000\nExecReload=/bin/true"),
    "ends.service": (Behaviour.ENDS, "Type=oneshot\nExecStart=/bin/true"),
    "fails.service": (Behaviour.FAILS, "Type=oneshot\nExecStart=/bin/false"),
    "dies.service": (Behaviour.DIES, "ExecStart=/bin/false"),
    "flaps.service": (Behaviour.FLAPS, "ExecStart=/bin/false\nRestart=always\nRestartSec=50ms\nStartLimitBurst=1000"),
    "hangs.service": (Behaviour.HANGS, "Type=notify\nExecStart=/bin/sleep 1000\nTimeoutStartSec=infinity"),
    "grumbles.service": (Behaviour.GRUMBLES, "ExecStart=/bin/sh -c 'trap \"exit 1\" TERM; sleep 1000 & wait'"),
    "base.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000"),
    "needs.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000\n[Unit]\nRequires=base.service\nAfter=base.service"),
    "binds.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000\n[Unit]\nBindsTo=needs.service\nAfter=needs.service"),
    "refuses-start.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000\n[Unit]\nRefuseManualStart=yes"),
    "refuses-stop.service": (Behaviour.ENDS, "Type=oneshot\nExecStart=/bin/true\n[Unit]\nRefuseManualStop=yes"),
    "part.service": (Behaviour.STAYS, "ExecStart=/bin/sleep 1000\n[Unit]\nPartOf=base.service\nWants=base.service"),
}  # fmt: skip
SOCKET = "[Socket]\nListenStream=/run/base.sock\n"
NEEDED = {"base.service": ("needs.service",), "needs.service": ("binds.service",)}
FOLLOWED = {"base.service": ("part.service",)}
FOLDER = "etc/systemd/system"
RELAY = "/run/relay"


@pytest.fixture(scope="module")
def booted() -> Iterator[lab.Host]:
    require_real()
    with lab.host("contract") as host:
        for name, (_, text) in UNITS.items():
            host.write(f"{FOLDER}/{name}", f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{text}\n")
        host.write(f"{FOLDER}/base.socket", SOCKET)
        host.write(f"{FOLDER}/early.socket", SOCKET.replace("base", "early") + "Service=base.service\n")
        (host.path / FOLDER / "masked.service").symlink_to("/dev/null")
        host.run(["systemctl", "daemon-reload"])
        private = "/run/systemd/private"
        host.start_relay(RELAY + private, private)
        yield host


@pytest.fixture(
    params=["fake", pytest.param("private", marks=pytest.mark.real), pytest.param("bus", marks=pytest.mark.real)]
)
def pid1(request: pytest.FixtureRequest) -> Iterator[Systemd]:
    if request.param == "fake":
        fake = FakeSystemd()
        for name, (behaviour, _) in UNITS.items():
            needed_by, followed_by = NEEDED.get(name, ()), FOLLOWED.get(name, ())
            reloads = name == "reloads.service"
            fake.add(name, behaviour, can_reload=reloads, samples=0, needed_by=needed_by, followed_by=followed_by)
        fake.units["refuses-start.service"].can_start = False
        fake.units["refuses-stop.service"].can_stop = False
        fake.units["base.service"].wanted_by = ("part.service",)
        fake.units["needs.service"].pulls = ("base.service",)
        fake.add("base.socket", triggers=("base.service",))
        fake.add("early.socket", triggers=("base.service",))
        fake.add("masked.service", load="masked")
        yield fake
        return
    host: lab.Host = request.getfixturevalue("booted")
    if request.param == "bus":
        real = systemd.connect(host.live_root, doors=[systemd.BUS])
    else:
        real = systemd.connect(host.live_root + RELAY, doors=[systemd.PRIVATE])
    yield real
    real.run(acts(UnitVerb.STOP, *UNITS), 10)
    real.reset_failed(UNITS)


def acts(verb: UnitVerb, *units: str) -> list[UnitAction]:
    return [UnitAction(verb=verb, unit=unit, reason="a test") for unit in units]


def results(pid1: Systemd, verb: UnitVerb, *units: str, seconds: float = 10) -> list[str]:
    return [r.result for r in pid1.run(acts(verb, *units), seconds)]


def wait_for(pid1: Systemd, unit: str, until: Callable[[UnitState], bool]) -> UnitState:
    state = pid1.states([unit])[unit]
    for _ in range(1000):
        if until(state):
            return state
        state = pid1.states([unit])[unit]
    raise AssertionError(f"did not come: {state}")


def test_states_answer_for_every_name_also_unknown_and_masked_ones(pid1: Systemd) -> None:
    states = pid1.states(["stays.service", "masked.service", "unknown.service", "stays.service"])
    assert {name: state.load for name, state in states.items()} == {
        "stays.service": "loaded",
        "masked.service": "masked",
        "unknown.service": "not-found",
    }
    assert not any(state.running for state in states.values())
    assert pid1.states([]) == {}


def test_a_started_unit_runs_as_a_new_invocation_and_a_stopped_one_does_not(pid1: Systemd) -> None:
    assert results(pid1, UnitVerb.START, "stays.service") == ["done"]
    first = pid1.states(["stays.service"])["stays.service"]
    assert (first.active, first.type, first.result) == ("active", "simple", "success")
    assert len(first.invocation) == 32
    assert results(pid1, UnitVerb.START, "stays.service") == ["done"]
    assert pid1.states(["stays.service"])["stays.service"].invocation == first.invocation
    assert results(pid1, UnitVerb.RESTART, "stays.service") == ["done"]
    assert pid1.states(["stays.service"])["stays.service"].invocation != first.invocation
    assert results(pid1, UnitVerb.STOP, "stays.service") == ["done"]
    assert pid1.states(["stays.service"])["stays.service"].active == "inactive"


def test_each_action_has_its_own_result_in_order(pid1: Systemd) -> None:
    found = pid1.run(acts(UnitVerb.START, "fails.service", "stays.service", "unknown.service", "ends.service"), 10)
    assert [(r.unit, r.result, r.ok) for r in found] == [
        ("fails.service", "failed", False),
        ("stays.service", "done", True),
        ("unknown.service", "invalid", False),
        ("ends.service", "done", True),
    ]
    assert found[0].detail == "exit-code"
    assert "unknown.service" in found[2].detail


def test_what_runs_or_is_about_to_is_told_from_what_has_failed(pid1: Systemd) -> None:
    pid1.start_later(["hangs.service"])
    results(pid1, UnitVerb.START, "stays.service", "fails.service", "ends.service")
    wait_for(pid1, "hangs.service", lambda state: state.active == "activating")
    assert {*UNITS} & {*pid1.running()} == {"stays.service", "hangs.service"}


def test_no_actions_have_no_results(pid1: Systemd) -> None:
    assert pid1.run([], 10) == ()


@pytest.mark.parametrize("verb", [UnitVerb.START, UnitVerb.RESTART])
def test_a_masked_unit_is_an_invalid_job_and_no_exception(pid1: Systemd, verb: UnitVerb) -> None:
    (found,) = pid1.run(acts(verb, "masked.service"), 10)
    assert (found.result, found.ok) == ("invalid", False)
    assert "masked" in found.detail


def test_stopping_what_is_not_there_is_fine(pid1: Systemd) -> None:
    assert pid1.run(acts(UnitVerb.STOP, "unknown.service"), 10)[0].ok


def test_what_is_to_start_later_starts_and_nobody_waits_for_it(pid1: Systemd) -> None:
    pid1.start_later(["hangs.service", "unknown.service", "masked.service", "stays.service"])
    wait_for(pid1, "stays.service", lambda state: state.active == "active")
    assert pid1.states(["hangs.service"])["hangs.service"].active == "activating"


def test_what_is_to_run_anew_later_does_and_nobody_waits_for_it(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, "stays.service")
    old = pid1.states(["stays.service"])["stays.service"].invocation
    pid1.run_later([*acts(UnitVerb.RESTART, "unknown.service"), *acts(UnitVerb.RESTART, "stays.service")])
    wait_for(pid1, "stays.service", lambda state: state.active == "active" and state.invocation != old)


def test_what_is_not_done_in_time_is_reported_and_the_others_are_not_held_up(pid1: Systemd) -> None:
    assert results(pid1, UnitVerb.START, "hangs.service", "ends.service", seconds=0.3) == ["timeout", "done"]
    assert pid1.states(["hangs.service"])["hangs.service"].active == "activating"


def test_a_transient_service_starts_and_one_that_runs_stays(pid1: Systemd) -> None:
    for _ in range(2):
        pid1.start_service("transient.service", ["/bin/sleep", "1000"], "A test")
    if isinstance(pid1, FakeSystemd):
        assert pid1.services == {"transient.service": ("/bin/sleep", "1000")}
        return
    wait_for(pid1, "transient.service", lambda state: state.active == "active")
    assert results(pid1, UnitVerb.STOP, "transient.service") == ["done"]


def test_who_was_stopped_is_told_from_who_ended_by_itself(pid1: Systemd) -> None:
    """Of what has failed, that is: PID 1 forgets the others."""
    results(pid1, UnitVerb.START, "grumbles.service", "dies.service")
    time.sleep(0 if isinstance(pid1, FakeSystemd) else 0.3)  # until it has its trap
    results(pid1, UnitVerb.STOP, "grumbles.service")
    wait_for(pid1, "dies.service", lambda state: state.active == "failed")
    states = pid1.states(["grumbles.service", "dies.service"])
    assert [(s.active, s.result, s.stopped) for s in states.values()] == [
        ("failed", "exit-code", True),
        ("failed", "exit-code", False),
    ]


def test_a_unit_reloads_if_it_can(pid1: Systemd) -> None:
    assert results(pid1, UnitVerb.START, "reloads.service", "stays.service") == ["done", "done"]
    states = pid1.states(["reloads.service", "stays.service"])
    assert [state.can_reload for state in states.values()] == [True, False]
    assert results(pid1, UnitVerb.RELOAD, "reloads.service", "stays.service") == ["done", "invalid"]
    after = pid1.states(["reloads.service"])["reloads.service"]
    assert after.invocation == states["reloads.service"].invocation


def test_a_unit_that_refuses_is_seen_to_and_refuses(pid1: Systemd) -> None:
    names = ["refuses-start.service", "refuses-stop.service", "stays.service"]
    states = pid1.states([*names, "masked.service"]).values()
    assert [state.can_start for state in states] == [False, True, True, False]
    assert [state.can_stop for state in states][:3] == [True, False, True]
    assert results(pid1, UnitVerb.START, *names) == ["invalid", "done", "done"]
    assert results(pid1, UnitVerb.RESTART, *names) == ["invalid", "invalid", "done"]
    assert results(pid1, UnitVerb.STOP, *names) == ["done", "invalid", "done"]


def test_a_oneshot_that_ended_well_is_inactive_with_success(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, "ends.service")
    state = pid1.states(["ends.service"])["ends.service"]
    assert (state.active, state.result, state.type, state.condition) == ("inactive", "success", "oneshot", True)


def test_a_simple_unit_that_dies_at_once_starts_well_and_is_seen_to_have_failed(pid1: Systemd) -> None:
    assert results(pid1, UnitVerb.START, "dies.service") == ["done"]
    state = wait_for(pid1, "dies.service", lambda state: state.active == "failed")
    assert (state.active, state.result) == ("failed", "exit-code")


def test_a_flapping_unit_counts_its_restarts(pid1: Systemd) -> None:
    assert results(pid1, UnitVerb.START, "flaps.service") == ["done"]
    first = pid1.states(["flaps.service"])["flaps.service"]
    assert wait_for(pid1, "flaps.service", lambda state: state.restarts > first.restarts).running


def test_a_failure_is_forgotten_on_request_also_of_a_unit_that_is_not_there(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, "fails.service")
    assert pid1.states(["fails.service"])["fails.service"].active == "failed"
    pid1.reset_failed(["unknown.service", "fails.service"])
    assert pid1.states(["fails.service"])["fails.service"].active == "inactive"


def test_a_reload_keeps_what_runs(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, "stays.service")
    before = pid1.states(["stays.service"])["stays.service"].invocation
    pid1.daemon_reload()
    assert pid1.states(["stays.service"])["stays.service"].invocation == before


def test_what_runs_or_failed_is_listed_and_what_is_idle_is_not(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, "stays.service", "fails.service", "ends.service")
    listed = set(pid1.listed()) & UNITS.keys()
    assert listed == {"stays.service", "fails.service"}


CHAIN = ("base.service", "needs.service", "binds.service", "part.service")


def test_a_unit_knows_what_stops_with_it_and_what_it_triggers(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, *CHAIN)  # PID 1 knows the other side of a dependency once it has loaded it
    states = pid1.states(["base.service", "needs.service", "base.socket"])
    assert states["base.service"].needed_by == ("needs.service",)
    assert states["base.service"].followed_by == ("part.service",)
    assert states["base.service"].wanted_by == ("part.service",)
    assert "base.service" in states["needs.service"].pulls
    assert states["needs.service"].needed_by == ("binds.service",)
    assert states["base.socket"].triggers == ("base.service",)


def test_stopping_a_unit_takes_down_all_that_need_or_follow_it(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, *CHAIN)
    assert [state.active for state in pid1.states(CHAIN).values()] == ["active"] * 4
    results(pid1, UnitVerb.STOP, "base.service")
    for unit in CHAIN:
        wait_for(pid1, unit, lambda state: state.active == "inactive")


def test_restarting_a_unit_and_what_goes_with_it_is_one_restart_of_each(pid1: Systemd) -> None:
    results(pid1, UnitVerb.START, *CHAIN)
    before = pid1.states(CHAIN)
    assert results(pid1, UnitVerb.RESTART, *CHAIN) == ["done"] * 4
    after = pid1.states(CHAIN)
    for unit in CHAIN:
        assert after[unit].active == "active"
        assert after[unit].invocation != before[unit].invocation, unit


def test_a_socket_and_its_service_start_and_restart_together(pid1: Systemd) -> None:
    """A socket does not start while its service runs: PID 1 has to know of both jobs before it begins one."""
    for _ in range(20):
        assert results(pid1, UnitVerb.START, "early.socket", "base.service") == ["done"] * 2
        assert results(pid1, UnitVerb.RESTART, "base.service", "early.socket") == ["done"] * 2
        assert results(pid1, UnitVerb.STOP, "early.socket", "base.service") == ["done"] * 2
