# SPDX-License-Identifier: Apache-2.0
"""Whether a unit is healthy, from samples of its state. Pure: who samples and waits is `acts.health`.

`systemctl start` says too little: a `Type=simple` unit that dies at once starts well, and one that flaps
reads ``active`` in most samples. So a unit must stay up, as the same invocation, for a settle time.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from ashore.nouns.units import UnitState

SETTLE = 3.0
"""Seconds that a started or restarted unit must stay up when its bundle does not say."""
_ENDED_WELL = ("exec-condition", "success")
"""Results of a service that ended as it should: its work is done, or it had none."""


class Verdict(StrEnum):
    HEALTHY = "healthy"
    WAITING = "waiting"
    FAILED = "failed"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at a time in seconds: a unit's state, if one is watched, and what its probe said."""

    time: float
    state: UnitState | None = None
    probe: str = ""
    """Why the probe did not succeed; empty if it did, or there is none."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, and for all but `HEALTHY` why."""

    verdict: Verdict
    reason: str = ""


def judge(samples: Sequence[Sample], *, settle: float, within: float, started: bool) -> Judgement:
    """What the samples, oldest first and the first from right after the start, say now.

    Healthy: up and answering for `settle` seconds without a gap, beginning at most `within` seconds after
    the first sample; or done, as a oneshot is. Failed: it will not come up any more, or not in time.
    `started`: this transaction started the unit, so that finding it down means that it ended.
    """
    newest, begin = samples[-1], samples[0].time
    if reason := _failure(samples, started=started):
        return Judgement(verdict=Verdict.FAILED, reason=reason)
    if newest.state is not None and started and _is_done(newest.state):
        return Judgement(verdict=Verdict.HEALTHY)
    since = _good_since(samples)
    if since is not None and since - begin <= within:
        if newest.time - since >= settle:
            return Judgement(verdict=Verdict.HEALTHY)
        return Judgement(verdict=Verdict.WAITING, reason=f"has not been up for {settle:g} s yet")
    problem = _problem(newest)
    if newest.time - begin >= within:
        return Judgement(verdict=Verdict.FAILED, reason=f"{problem}, {within:g} s after the start")
    return Judgement(verdict=Verdict.WAITING, reason=problem)


def _failure(samples: Sequence[Sample], *, started: bool) -> str:
    """Why the unit has failed for good; empty if it has not."""
    states = [sample.state for sample in samples if sample.state is not None]
    if not states:
        return ""
    first, newest = states[0], states[-1]
    restarts = newest.restarts - first.restarts
    if newest.load != "loaded":
        return f"cannot be loaded: {newest.load}"
    if newest.active == "failed":
        return f"failed ({newest.result})"
    if newest.sub == "auto-restart" or restarts > 0:
        return f"died, and systemd starts it again and again ({newest.result}, {max(restarts, 1)} in the settle time)"
    if started and newest.active == "inactive" and not _is_done(newest):
        return f"ended instead of staying up ({newest.result})"
    if newest.type != "oneshot" and _is_another(states):
        return "was up and was restarted meanwhile"
    return ""


def _is_done(state: UnitState) -> bool:
    """Whether a unit is down since its work is done: a oneshot, or one whose condition does not hold."""
    ended = state.type == "oneshot" and state.result in _ENDED_WELL
    return state.active == "inactive" and (ended or not state.condition)


def _is_another(states: Sequence[UnitState]) -> bool:
    """Whether the unit is up as another invocation than the first that was seen up."""
    up = [state.invocation for state in states if _is_up(state)]
    return len(up) > 1 and _is_up(states[-1]) and up[0] != up[-1]


def _is_up(state: UnitState) -> bool:
    return state.active in {"active", "reloading"}


def _good_since(samples: Sequence[Sample]) -> float | None:
    """When the unbroken run of good samples that ends with the newest began; None if that is not good."""
    since = None
    for sample in reversed(samples):
        if _problem(sample):
            break
        since = sample.time
    return since


def _problem(sample: Sample) -> str:
    if sample.state is not None and not _is_up(sample.state):
        return f"is {sample.state.active} ({sample.state.sub})"
    return sample.probe
