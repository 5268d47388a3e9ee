# SPDX-License-Identifier: Apache-2.0
"""Whether a unit is healthy, from samples of its state. Pure: who samples and waits is `acts.transaction.health`.

`systemctl start` says too little: a `Type=simple` unit that dies at once starts well, and one that flaps
reads ``active`` in most samples. So a unit must stay up, as the same invocation, for a settle time.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from ashore.nouns.bundle import BundleStep, Health
from ashore.nouns.plan import Plan
from ashore.nouns.units import UnitState, UnitVerb

SETTLE = 3.0
"""Seconds that a started or restarted unit must stay up when its bundle does not say."""
_ENDED_WELL = ("exec-condition", "success")
"""Results of a service that ended as it should: its work is done, or it had none."""
_OF_GENERATORS = re.compile(
    r"(etc|usr/share)/containers/systemd/|etc/(fstab|(crypt|verity|integrity)tab)$|etc/(rc\.d/)?init\.d/|etc/netplan/"
    r"|(etc|usr(/local)?/lib|lib)/systemd/(system-generators/|zram-generator\.conf)"
)
"""What units are made of while PID 1 reloads, and the programs that make them."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to watch after a change, and how long it may take and must hold, in seconds."""

    health: Health
    settle: float
    within: float
    started: bool = False
    """This transaction started it, so that finding it down means that it ended."""
    why: str = ""
    """Why it is watched, where that is not plain."""


def to_watch(
    plan: Plan, before: Mapping[str, UnitState], *, touched: Collection[str], answered: Collection[Health]
) -> tuple[Watched, ...]:
    """What must hold after `plan` was carried out.

    `before` is how units ran before it, `touched` the bundles that it is about, `answered` the checks of the
    others that held before. Of the `touched` all that they declare; of every bundle each unit that runs by this
    plan or ran before. What was down before by somebody's hand, or for a fault of its own, is not judged. Where
    no unit was touched, one good look is enough.
    """
    started = _started(plan)
    hold = SETTLE if plan.actions else 0.0
    found = []
    for bundle in plan.bundles:
        for health in bundle.health:
            ours = bundle.name in touched and _is_judged(health, started, before)
            if not ours and health not in answered:
                continue
            settle = health.settle if health.settle is not None else SETTLE if health.unit in started else 0.0
            found.append(
                Watched(
                    health=health,
                    settle=hold and (settle if ours else hold),
                    within=health.within,
                    started=health.unit in started,
                    why="" if ours else f"{bundle.name} was well before this change",
                )
            )
    named = {watched.health.unit for watched in found}
    found += [
        Watched(health=Health(unit=unit), settle=SETTLE, within=Health().within, started=True)
        for unit in sorted(started - named)
    ]
    stopped = {action.unit for action in plan.stops}
    others = sorted({unit for bundle in plan.bundles for unit in bundle.enabled} - named - started - stopped)
    return tuple(found) + tuple(
        Watched(health=Health(unit=unit), settle=hold, within=SETTLE, why="it ran before this change")
        for unit in others
        if _ran(before, unit)
    )


def not_judged(plan: Plan, states: Mapping[str, UnitState], touched: Collection[str]) -> tuple[str, ...]:
    """Notes on the checks of the `touched` bundles that `to_watch` leaves out; `states` is how their units run now."""
    started = _started(plan)
    checks = (health for bundle in plan.bundles if bundle.name in touched for health in bundle.health)
    return tuple(
        f"{health.unit} is {states[health.unit].active}, and nothing here starts it: its [[health]] is not checked"
        for health in checks
        if health.unit in states and not _is_judged(health, started, states)
    )


def may_be_made(paths: Iterable[str], steps: Iterable[BundleStep]) -> bool:
    """Whether units may come of more than unit files: a generator makes them of what is placed, or a step."""
    return any(steps) or any(_OF_GENERATORS.match(path) for path in paths)


def _started(plan: Plan) -> set[str]:
    return {a.unit for a in plan.actions if a.verb in (UnitVerb.START, UnitVerb.RESTART)}


def _is_judged(health: Health, started: Collection[str], before: Mapping[str, UnitState]) -> bool:
    return not health.unit or health.unit in started or _ran(before, health.unit)


def _ran(before: Mapping[str, UnitState], unit: str) -> bool:
    """Whether it was up: one that was about to come up, or tried again and again, was not."""
    return unit in before and _is_up(before[unit])


def start_seconds(plan: Plan, otherwise: float) -> float:
    """How long the jobs of `plan` may take: what the bundles declare for its units, else `otherwise`."""
    declared: dict[str, float] = {}
    for health in (h for bundle in plan.bundles for h in bundle.health if h.unit):
        declared[health.unit] = max(health.within, declared.get(health.unit, 0.0))
    return max((declared.get(action.unit, otherwise) for action in plan.actions), default=otherwise)


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
    problem = _problem(newest) or "was not well in time"
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
        return f"failed{in_brackets(newest.result)}"
    if newest.sub == "auto-restart" or restarts > 0:
        often = f"{max(restarts, 1)} in the settle time"
        return f"died, and systemd starts it again and again{in_brackets(newest.result, often)}"
    if started and newest.active == "inactive" and not _is_done(newest):
        return f"ended instead of staying up{in_brackets(newest.result)}"
    if newest.type != "oneshot" and _is_another(states):
        return "was up and was restarted meanwhile"
    return ""


def in_brackets(result: str, more: str = "") -> str:
    """A unit's result, behind what went wrong: there, systemd's "success" reads as the opposite."""
    said = [part for part in (result, more) if part not in ("", "success")]
    return f" ({', '.join(said)})" if said else ""


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
