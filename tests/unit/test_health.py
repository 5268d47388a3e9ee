# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable

import msgspec
import pytest

from ashore.acts.health import watch
from ashore.errors import Issue
from ashore.nouns.bundle import Health
from ashore.nouns.units import UnitAction, UnitState, UnitVerb
from ashore.rules.health import Judgement, Sample, Verdict, judge
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
        pytest.param([down()], "ended instead of staying up (success)", id="ends with 0"),
        pytest.param([up(), down()], "ended instead of staying up (success)", id="ends later"),
        pytest.param(
            [down(type="oneshot", result="exit-code")], "ended instead of staying up (exit-code)", id="oneshot"
        ),
        pytest.param(
            [up(), up(restarts=2, result="exit-code")],
            "died, and systemd starts it again and again (exit-code, 2 in the settle time)",
            id="flaps, and reads active each time",
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
    issues = watch(pid1, units, health, clock=clock, sleep=clock.sleep, probe=lambda _h, _s: probe)
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


def test_nothing_to_watch_is_healthy_at_once() -> None:
    assert watched(FakeSystemd(), []) == ((), 0.0)
