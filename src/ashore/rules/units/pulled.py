# SPDX-License-Identifier: Apache-2.0
"""What a change set going beside the units that it acted on: by their dependencies, or by their triggers. Pure."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from ashore.nouns.units import UNIT_SUFFIXES, UnitState
from ashore.rules.units.borrowed import may_stop

_STOPPABLE = tuple(suffix for suffix in UNIT_SUFFIXES if suffix != ".slice")
"""A slice goes by itself, and would take with it whatever runs in it."""


def unknown(acted_on: Iterable[str], states: Mapping[str, UnitState], before: AbstractSet[str]) -> tuple[str, ...]:
    """Units whose states have to be asked for before `set_going` can answer."""
    return tuple(sorted(name for name in _reached(acted_on, states, before) if name not in states))


def set_going(
    acted_on: Iterable[str], shipped: AbstractSet[str], states: Mapping[str, UnitState], before: AbstractSet[str]
) -> tuple[str, ...]:
    """What runs since `acted_on` were started, and did not run `before`. `shipped` are units of the change itself.

    Whatever somebody else needs or wants, who started meanwhile as well, is left to him.
    """
    reached = _reached(acted_on, states, before)
    found = {
        name
        for name in {*reached, *shipped} - before
        if name in states and states[name].running and name.endswith(_STOPPABLE)
        if name in shipped or may_stop(name)
    }
    while kept := {name for name in found - shipped if _is_others(states[name], found | {*acted_on}, states, before)}:
        found -= kept
    return tuple(sorted(found))


def _is_others(
    state: UnitState, ours: AbstractSet[str], states: Mapping[str, UnitState], before: AbstractSet[str]
) -> bool:
    """Whether it would take down what is not `ours`, or was started for somebody who is not."""
    down = {*state.needed_by, *state.followed_by} - ours
    started = {*state.wanted_by} - ours - before
    return any(name in states and states[name].running for name in down | started)


def around(names: Iterable[str], states: Mapping[str, UnitState]) -> tuple[str, ...]:
    """Units whose states say whether somebody else has to do with `names`."""
    known = [states[name] for name in names if name in states]
    others = {other for state in known for other in (*state.needed_by, *state.followed_by, *state.wanted_by)}
    return tuple(sorted(others - states.keys()))


def _reached(acted_on: Iterable[str], states: Mapping[str, UnitState], before: AbstractSet[str]) -> set[str]:
    """`acted_on`, and what they start, directly or by way of another that did not run before."""
    reached = set(acted_on)
    waiting = list(reached)
    while waiting:
        state = states.get(waiting.pop())
        for other in (*state.pulls, *state.triggers) if state is not None else ():
            if other not in reached and other not in before:
                reached.add(other)
                waiting.append(other)
    return reached
