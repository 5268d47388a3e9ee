# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable

import msgspec
import pytest

from ashore.acts.transaction.health import watch
from ashore.errors import Issue
from ashore.nouns.bundle import Health
from ashore.nouns.generation import BundleRecord
from ashore.nouns.plan import Plan
from ashore.nouns.units import UnitAction, UnitState, UnitVerb
from ashore.rules.units.health import Judgement, Sample, Verdict, Watched, judge, start_seconds, to_watch
from tests.fakes.systemd import Behaviour, FakeSystemd


def up(**fields: object) -> UnitState:
    base = {"name": "x.service", "load": "loaded", "active": "active", "sub": "running", "type": "simple"}
    return msgspec.convert(base | {"invocation": "1"} | fields, UnitState)


def down(**fields: object) -> UnitState:
    return up(**({"active": "inactive", "sub": "dead"} | fields))


STARTING = up(active="activating", sub="start")
FAILED = up(active="failed", sub="failed", result="exit-code")


Seen = UnitState | tuple[UnitState | None, str]


def verdict(states: Iterable[Seen], *, started: bool = True) -> tuple[str, str]:
    """Of samples one second apart, up 2 s within 5 s: the first verdict but *waiting*, or the last one."""
    samples: list[Sample] = []
    judged = Judgement(verdict=Verdict.WAITING)
    for time, item in enumerate(states):
        state, probe = item if isinstance(item, tuple) else (item, "")
        samples.append(Sample(time=float(time), state=state, probe=probe))
        judged = judge(samples, settle=2, within=5, started=started)
        if judged.verdict is not Verdict.WAITING:
            break
    return judged.verdict.value, judged.reason


@pytest.mark.parametrize(
    "states",
    [
        pytest.param([up()] * 3, id="stays up"),
        pytest.param([STARTING, STARTING, up(), up(), up()], id="comes up, then stays"),
        pytest.param([up(), up(active="reloading"), up()], id="reloads"),
        pytest.param([down(type="oneshot")], id="a oneshot that ended well"),
        pytest.param([down(condition=False)], id="its condition does not hold"),
        pytest.param([up(type="oneshot", sub="exited")] * 3, id="a oneshot that remains"),
        pytest.param([up(restarts=3)] * 3, id="restarts from before do not count"),
        pytest.param([up(type="", sub="waiting")] * 3, id="a timer"),
        pytest.param([(up(), "refused"), (up(), "refused"), *[up()] * 3], id="answers after a while"),
        pytest.param([(None, "refused"), (None, ""), (None, ""), (None, "")], id="a probe without a unit"),
    ],
)
def test_healthy(states: list[Seen]) -> None:
    assert verdict(states) == ("healthy", "")


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        pytest.param([FAILED], "failed (exit-code)", id="dies at once"),
        pytest.param([up(), FAILED], "failed (exit-code)", id="dies later"),
        pytest.param([down()], "ended instead of staying up", id="ends with 0"),
        pytest.param([up(), down()], "ended instead of staying up", id="ends later"),
        pytest.param(
            [down(type="oneshot", result="exit-code")], "ended instead of staying up (exit-code)", id="oneshot"
        ),
        pytest.param(
            [up(), up(restarts=2, result="exit-code")],
            "died, and systemd starts it again and again (exit-code, 2 in the settle time)",
            id="flaps, and reads active each time",
        ),
        pytest.param(
            [up(), up(restarts=2, result="success")],
            "died, and systemd starts it again and again (2 in the settle time)",
            id="ends with 0 again and again",
        ),
        pytest.param(
            [up(active="activating", sub="auto-restart", result="signal")],
            "died, and systemd starts it again and again (signal, 1 in the settle time)",
            id="waits for its next start",
        ),
        pytest.param([up(), up(invocation="2")], "was up and was restarted meanwhile", id="another invocation"),
        pytest.param([up(load="not-found")], "cannot be loaded: not-found", id="not there"),
        pytest.param([up(load="bad-setting")], "cannot be loaded: bad-setting", id="broken"),
        pytest.param([STARTING] * 9, "is activating (start), 5 s after the start", id="never comes up"),
        pytest.param([(up(), "refused")] * 9, "refused, 5 s after the start", id="never answers"),
        pytest.param([(None, "refused")] * 9, "refused, 5 s after the start", id="nothing answers"),
        pytest.param(
            [(up(), ""), (up(), "refused"), *[(up(), ""), (up(), "refused")] * 3], "refused, 5 s after the start",
            id="answers now and then",
        ),
    ],
)  # fmt: skip
def test_failed(states: list[Seen], reason: str) -> None:
    assert verdict(states) == ("failed", reason)


def test_a_unit_that_comes_up_just_in_time_still_has_to_settle() -> None:
    assert verdict([*[STARTING] * 5, up(), up()])[0] == "waiting"
    assert verdict([*[STARTING] * 5, up(), up(), up()])[0] == "healthy"
    assert verdict([*[STARTING] * 5, up(), FAILED])[0] == "failed"


def test_a_watched_unit_that_this_transaction_did_not_start_may_be_down_for_now() -> None:
    assert verdict([down()] * 3, started=False)[0] == "waiting"
    assert verdict([down(), down(), up(), up(), up()], started=False)[0] == "healthy"
    assert verdict([down()] * 9, started=False) == ("failed", "is inactive (dead), 5 s after the start")


def plan(
    *, started: Iterable[str] = (), stopped: Iterable[str] = (), health: Iterable[Health] = (), other: object = None
) -> Plan:
    """A plan about bundle b; `other` is what else bundle o has in its record."""
    base: dict[str, object] = dict.fromkeys(("version", "reference", "digest", "manifest_digest", "inputs"), "")
    records: list[dict[str, object]] = [base | {"name": "b", "enabled": tuple(started), "health": tuple(health)}]
    records += [base | {"name": "o"} | other] if isinstance(other, dict) else []
    return Plan(
        actions=tuple(UnitAction(verb=UnitVerb.START, unit=unit, reason="") for unit in started),
        stops=tuple(UnitAction(verb=UnitVerb.STOP, unit=unit, reason="") for unit in stopped),
        bundles=tuple(msgspec.convert(record, BundleRecord) for record in records),
    )


def names(found: Iterable[Watched]) -> dict[str, float]:
    """What is watched, and for how long it has to hold."""
    return {w.health.unit or w.health.http: w.settle for w in found}


def test_every_unit_that_is_started_and_every_other_that_ran_is_watched() -> None:
    before = {"a.service": down(), "o.service": up(), "broken.service": STARTING, "stopped.service": down()}
    other = {"enabled": ("o.service", "broken.service", "stopped.service")}
    found = to_watch(plan(started=["a.service"], other=other), before, touched=["b"], answered=[])
    assert names(found) == {"a.service": 3.0, "o.service": 3.0}
    assert [(w.started, w.within) for w in found] == [(True, 90.0), (False, 3.0)]


def test_where_no_unit_was_touched_one_good_look_is_enough() -> None:
    health = Health(unit="o.service", settle=10.0)
    other = {"enabled": ("o.service", "p.service"), "health": (health,)}
    before = {"o.service": up(), "p.service": up()}
    found = to_watch(plan(other=other), before, touched=["o"], answered=[])
    assert names(found) == {"o.service": 0.0, "p.service": 0.0}


def test_what_this_plan_stops_is_not_missed() -> None:
    found = to_watch(plan(stopped=["b.service"]), {"b.service": up()}, touched=["b"], answered=[])
    assert found == ()


def test_a_check_of_another_bundle_counts_only_if_it_held_before() -> None:
    well, ill = Health(http="http://well/"), Health(http="http://ill/")
    other = {"health": (well, ill)}
    found = to_watch(plan(started=["a.service"], other=other), {}, touched=["b"], answered=[well])
    assert names(found) == {"http://well/": 3.0, "a.service": 3.0}
    assert found[0].why == "o was well before this change"


def test_a_declared_unit_that_somebody_stopped_is_not_waited_for() -> None:
    health = [Health(unit="a.service"), Health(unit="stopped.service")]
    found = to_watch(
        plan(started=["a.service"], health=health), {"stopped.service": down()}, touched=["b"], answered=[]
    )
    assert names(found) == {"a.service": 3.0}


def test_a_start_may_take_as_long_as_its_bundle_says() -> None:
    health = [Health(unit="a.service", within=7.0)]
    assert start_seconds(plan(started=["a.service"], health=health), 120.0) == 7.0
    assert start_seconds(plan(started=["a.service", "b.service"], health=health), 120.0) == 120.0
    assert start_seconds(plan(health=health), 120.0) == 120.0


def test_one_that_fails_while_another_still_comes_up_has_failed() -> None:
    pid1 = FakeSystemd()
    pid1.add("early.service", Behaviour.DIES, samples=20)
    pid1.add("slow.service", Behaviour.HANGS)
    (issue,), seconds = watched(pid1, ["early.service", "slow.service"])
    assert (issue.where, seconds) == ("early.service", 5.0)


class Clock:
    """A time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watched(pid1: FakeSystemd, units: list[str], *health: Health, probe: str = "") -> tuple[tuple[Issue, ...], float]:
    clock = Clock()
    pid1.run([UnitAction(verb=UnitVerb.START, unit=unit, reason="") for unit in units], 10)
    found = to_watch(plan(started=units, health=health), {}, touched=["b"], answered=[])
    issues = watch(pid1, found, clock=clock, sleep=clock.sleep, probe=lambda _h, _s: probe)
    return issues, clock.now - 100.0


def test_units_that_stay_are_healthy_after_the_settle_time() -> None:
    pid1 = FakeSystemd()
    pid1.add("a.service")
    pid1.add("b.service", Behaviour.ENDS)
    assert watched(pid1, ["a.service", "b.service"]) == ((), 3.0)
    assert watched(pid1, ["a.service"], Health(unit="a.service", settle=10.0)) == ((), 10.0)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(Behaviour.FAILS, "failed"), (Behaviour.DIES, "failed"), (Behaviour.FLAPS, "again and again")],
)
def test_one_that_does_not_stay_ends_the_watch_at_once_with_its_name_and_where_to_look(
    behaviour: Behaviour, reason: str
) -> None:
    pid1 = FakeSystemd()
    pid1.add("a.service")
    pid1.add("b.service", behaviour, samples=2)
    (issue,), seconds = watched(pid1, ["a.service", "b.service"])
    assert issue.where == "b.service"
    assert reason in issue.message
    assert issue.remedy == "see why: journalctl -u b.service"
    assert seconds < 3.0


def test_one_that_hangs_fails_when_its_time_is_over() -> None:
    pid1 = FakeSystemd()
    pid1.add("a.service", Behaviour.HANGS)
    (issue,), seconds = watched(pid1, ["a.service"], Health(unit="a.service", within=20.0))
    assert issue.message == "is activating (start), 20 s after the start"
    assert seconds == 20.0


def test_a_probe_that_does_not_answer_fails_when_its_time_is_over() -> None:
    pid1 = FakeSystemd()
    pid1.add("a.service")
    health = Health(unit="a.service", http="http://127.0.0.1:1/healthz", within=4.0)
    (issue,), seconds = watched(pid1, ["a.service"], health, probe="connection refused")
    assert (issue.message, seconds) == ("connection refused, 4 s after the start", 4.0)


def test_a_probe_that_never_answers_takes_no_longer_than_there_is() -> None:
    clock, given = Clock(), list[float]()

    def silent(_health: Health, seconds: float) -> str:
        given.append(seconds)
        clock.sleep(seconds)
        return "no answer in time"

    for within, expected in ((2.0, [2.0]), (8.0, [5.0, 2.75]), (5.5, [5.0, 1.0])):
        given.clear()
        begin, health = clock(), Health(http="http://h/", within=within)
        (issue,) = watch(
            FakeSystemd(), to_watch(plan(health=[health]), {}, touched=["b"], answered=[]),
            clock=clock, sleep=clock.sleep, probe=silent,
        )  # fmt: skip
        assert given == expected and clock() - begin <= within + 1.25
        assert str(issue) == f"http://h/: no answer in time, {within:g} s after the start"


def test_a_probe_without_a_unit_names_what_it_asks_once() -> None:
    (issue,), _ = watched(FakeSystemd(), [], Health(tcp="h:1", within=2.0), probe="h:1: Connection refused")
    assert str(issue) == "h:1: Connection refused, 2 s after the start"


def test_what_is_well_only_after_its_time_has_failed_and_says_so() -> None:
    judged = judge(
        [Sample(time=0.0, probe="refused"), Sample(time=3.0)], settle=0, within=2, started=True
    )  # fmt: skip
    assert judged == Judgement(verdict=Verdict.FAILED, reason="was not well in time, 2 s after the start")


def test_nothing_to_watch_is_healthy_at_once() -> None:
    assert watched(FakeSystemd(), []) == ((), 0.0)
