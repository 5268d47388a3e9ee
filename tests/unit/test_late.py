# SPDX-License-Identifier: Apache-2.0
"""What a late failure is, and what people and programs do to a unit that is none."""

import msgspec
import pytest

from ashore.nouns.bundle import Health
from ashore.nouns.late import Subject
from ashore.nouns.units import UnitState
from ashore.rules.units.health import Watched
from ashore.rules.units.late import Look, is_over, look, to_watch_on
from tests.unit.test_health import down, up

X = Subject(health=Health(unit="x.service"), until=90, patience=3, state=up())


def seen(state: UnitState | None, probe: str = "", *, bad_since: float | None = None, now: float = 10) -> Look:
    return look(X, state, probe, bad_since=bad_since, now=now)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(up(active="failed", result="exit-code"), "failed (exit-code)", id="it failed"),
        pytest.param(up(active="failed", result="watchdog", stopped=True), "failed (watchdog)", id="it hung"),
        pytest.param(
            up(active="activating", sub="auto-restart", result="signal"),
            "died, and systemd started it again (signal)",
            id="about to be restarted",
        ),
        pytest.param(up(restarts=1), "died, and systemd started it again", id="restarted"),
    ],
)
def test_what_dies_late_has_failed(state: UnitState, reason: str) -> None:
    assert seen(state).failure == reason


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(up(), id="stays up"),
        pytest.param(down(stopped=True), id="stopped by hand"),
        pytest.param(down(), id="ended well"),
        pytest.param(up(active="failed", result="exit-code", stopped=True), id="stopped by hand, and says 1 then"),
        pytest.param(up(invocation="2"), id="restarted by hand"),
        pytest.param(up(active="deactivating"), id="being stopped"),
        pytest.param(down(load="masked"), id="masked by hand"),
        pytest.param(up(load="masked", active="failed", result="signal"), id="masked by hand, and killed"),
        pytest.param(down(load="not-found"), id="taken away by hand"),
    ],
)
def test_what_people_do_is_no_failure(state: UnitState) -> None:
    assert seen(state) == Look()


def test_restarts_from_before_do_not_count() -> None:
    subject = Subject(health=X.health, until=90, patience=3, state=up(restarts=2))
    assert look(subject, up(restarts=2), "", bad_since=None, now=1) == Look()
    assert look(subject, up(restarts=3), "", bad_since=None, now=1).failure


def test_a_probe_has_to_fail_for_a_while_and_is_not_asked_of_what_was_stopped() -> None:
    assert seen(up(), "refused") == Look(bad_since=10)
    assert seen(up(), "refused", bad_since=8) == Look(bad_since=8)
    assert seen(up(), "refused", bad_since=7) == Look(failure="refused", bad_since=7)
    assert seen(up(), bad_since=7) == Look(), "it answers again"
    assert seen(down(stopped=True), "refused", bad_since=7) == Look()
    assert seen(None, "refused", bad_since=7).failure == "refused"


def test_what_was_brought_up_again_has_as_long_to_answer_as_when_it_was_started_first() -> None:
    health = msgspec.structs.replace(X.health, within=20.0)
    subject = msgspec.structs.replace(X, health=health, again=5.0)
    for now, failure in ((9, ""), (24, ""), (25, "refused")):
        assert look(subject, up(), "refused", bad_since=4, now=now) == Look(failure=failure, bad_since=5)
    assert look(subject, up(), "refused", bad_since=24, now=26) == Look(bad_since=24)
    assert look(subject, up(active="failed"), "", bad_since=None, now=6).failure, "what has failed will not answer"


def test_the_time_ends_but_not_in_the_middle_of_a_failure() -> None:
    assert not is_over(X, None, 89.9)
    assert is_over(X, None, 90)
    assert not is_over(X, 89, 91)


def test_what_is_watched_on_is_what_can_still_fail_in_the_time_that_is_left() -> None:
    states = {"x.service": up(), "job.service": down(type="oneshot"), "asked.service": down(type="oneshot")}
    watched = [
        Watched(health=Health(unit="x.service", within=20), settle=1, within=20),
        Watched(health=Health(unit="x.service", within=5), settle=1, within=5),
        Watched(health=Health(unit="job.service"), settle=1, within=90),
        Watched(health=Health(unit="asked.service", tcp="x:1", within=30), settle=9, within=30),
        Watched(health=Health(command=("true",), within=40), settle=0, within=40, why="because"),
    ]
    subjects = to_watch_on(watched, states, since=100, now=105)
    assert [(s.health.within, s.until, s.patience, s.why) for s in subjects] == [
        (20, 120, 3, ""),
        (30, 130, 9, ""),
        (40, 140, 3, "because"),
    ]
    assert subjects[0].state == up()
