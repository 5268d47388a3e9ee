# SPDX-License-Identifier: Apache-2.0
"""What counts as a failure after a change was found healthy. Pure: who looks is `acts.boot.watching`.

Meanwhile people work on the host. What they stop, start or restart by hand has not failed, and neither has a program
that ended well: its job may be done.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.late import Subject
from ashore.nouns.units import UnitState
from ashore.rules.units.health import SETTLE, Watched, in_brackets

_BY_REQUEST = ("exit-code", "signal")
"""How a service may end that was asked to stop and does not say 0 then."""


def to_watch_on(
    watched: Iterable[Watched], states: Mapping[str, UnitState], *, since: float, now: float
) -> tuple[Subject, ...]:
    """What of `watched` has time left; `since` its units were started, and `states` is how they run `now`."""
    return tuple(
        Subject(
            health=w.health,
            until=since + w.within,
            patience=max(w.settle, SETTLE),
            state=states.get(w.health.unit),
            why=w.why,
        )
        for w in watched
        if since + w.within > now and _can_fail(w, states)
    )


def brought_up_again(subject: Subject, state: UnitState | None, *, now: float) -> Subject:
    """A subject that another change may have taken down before it went back, as that left it: what was is forgotten."""
    return msgspec.structs.replace(subject, again=now, state=subject.state if state is None else state)


def _can_fail(watched: Watched, states: Mapping[str, UnitState]) -> bool:
    """Whether anything is left to watch: a oneshot that is done without a probe has nothing."""
    state = states.get(watched.health.unit)
    return state is None or state.running or has_probe(watched)


def has_probe(of: Watched | Subject) -> bool:
    """Whether something has to answer."""
    return bool(of.health.http or of.health.tcp or of.health.command)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look says: why it has failed, if it has; and since when its probe does not answer, if so."""

    failure: str = ""
    bad_since: float | None = None


def look(subject: Subject, state: UnitState | None, probe: str, *, bad_since: float | None, now: float) -> Look:
    """Judge one look at a subject. `probe` says why it did not answer; `bad_since` is of the look before."""
    if state is not None and (failure := _failure(subject, state)):
        return Look(failure=failure)
    if not probe or (state is not None and state.active != "active"):
        return Look()
    began = max(now if bad_since is None else bad_since, subject.again)
    comes_up = bool(subject.again) and now < subject.again + subject.health.within
    failed = now - began >= subject.patience and not comes_up
    return Look(failure=probe if failed else "", bad_since=began)


def is_over(subject: Subject, bad_since: float | None, now: float) -> bool:
    """Whether its time is over; one that does not answer just then is looked at until that is decided."""
    return now >= subject.until and bad_since is None


def _failure(subject: Subject, state: UnitState) -> str:
    if state.load != "loaded":
        return ""  # somebody masked it or took it away
    if state.active == "failed":
        by_request = state.stopped and state.result in _BY_REQUEST
        return "" if by_request else f"failed{in_brackets(state.result)}"
    before = subject.state.restarts if subject.state is not None else 0
    if state.sub == "auto-restart" or state.restarts > before:
        return f"died, and systemd started it again{in_brackets(state.result)}"
    return ""
