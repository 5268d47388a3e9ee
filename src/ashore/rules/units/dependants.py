# SPDX-License-Identifier: Apache-2.0
"""What goes down with a unit that is stopped or restarted, whoever owns it, and how it comes back. Pure.

PID 1 takes dependants down by itself. They are planned, so that the plan shows them, health watches them,
and a transaction that goes back knows that they ran.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.units import UnitAction, UnitState, UnitVerb


class Dependant(msgspec.Struct, frozen=True, kw_only=True):
    """A running unit that goes down, the unit that takes it down, and whether it cannot run without that."""

    unit: str
    cause: str
    needs: bool


def unknown(units: Iterable[str], states: Mapping[str, UnitState]) -> tuple[str, ...]:
    """Units whose states have to be asked for before `dependants` of `units` can answer."""
    return tuple(sorted(name for name in _reached(units, states) if name not in states))


def unknown_services(units: Iterable[str], states: Mapping[str, UnitState]) -> tuple[str, ...]:
    """Of the sockets among `units`, the services whose states are not known."""
    sockets = [unit for unit in units if unit.endswith(".socket") and unit in states]
    return tuple(sorted({name for unit in sockets for name in states[unit].triggers} - states.keys()))


def dependants(units: Iterable[str], states: Mapping[str, UnitState]) -> tuple[Dependant, ...]:
    """All running units that go down with `units`, directly or by way of another, nearest first; not `units`."""
    named = list(units)
    reached = _reached(named, states)
    return tuple(
        Dependant(unit=name, cause=cause, needs=needs)
        for name, (cause, needs) in reached.items()
        if name not in named and name in states and states[name].running
    )


def with_dependants(
    stops: tuple[UnitAction, ...],
    actions: tuple[UnitAction, ...],
    states: Mapping[str, UnitState],
    freed: Mapping[str, frozenset[str]],
) -> tuple[tuple[UnitAction, ...], tuple[UnitAction, ...], tuple[str, ...]]:
    """Stops, actions and notes, with what they take down. `freed`: units whose need of a stopped one ends with it,
    since the symlink that says so goes as well, by the unit that is stopped."""
    planned = {action.unit for action in (*stops, *actions)}
    more_stops, more_actions, notes = [], [], []
    back = set()
    for found in dependants([stop.unit for stop in stops], states):
        if found.unit in planned:
            continue
        planned.add(found.unit)
        if not found.needs or found.cause in back or found.unit in freed.get(found.cause, frozenset()):
            back.add(found.unit)
            reason = f"it went down with {found.cause}"
            if states[found.unit].can_start:
                more_actions.append(UnitAction(verb=UnitVerb.START, unit=found.unit, reason=reason))
            else:
                notes.append(f"{found.unit} goes down with {found.cause}, and may not be started by hand")
        else:
            reason = f"it needs {found.cause}, which stops"
            if states[found.unit].can_stop:  # else PID 1 alone may do so, and does
                more_stops.append(UnitAction(verb=UnitVerb.STOP, unit=found.unit, reason=reason))
            notes.append(f"{found.unit} needs {found.cause} and stops with it")
    restarts = [action.unit for action in actions if action.verb is UnitVerb.RESTART]
    for found in dependants(restarts, states):
        # A target has no process: PID 1 brings it back by itself, and there is nothing to watch. So it does with
        # what nobody else may start.
        by_itself = found.unit.endswith((".target", ".slice")) or not states[found.unit].can_start
        if found.unit not in planned and not by_itself:
            planned.add(found.unit)
            reason = f"it goes down with {found.cause}"
            more_actions.append(UnitAction(verb=UnitVerb.RESTART, unit=found.unit, reason=reason, follows=found.cause))
    return (*stops, *more_stops), (*actions, *more_actions), tuple(notes)


def _reached(units: Iterable[str], states: Mapping[str, UnitState]) -> dict[str, tuple[str, bool]]:
    """Every unit that hangs on `units`, with what takes it down and whether it cannot run without that."""
    units = dict.fromkeys(units)
    reached: dict[str, tuple[str, bool]] = {}
    waiting = [(unit, True) for unit in units]
    while waiting:
        unit, gone = waiting.pop(0)
        state = states.get(unit)
        # What does not run takes nothing down.
        if state is None or not state.running:
            continue
        for others, needs in ((state.needed_by, gone), (state.followed_by, False)):
            for other in sorted(others):
                if other not in reached and other not in units:
                    reached[other] = (unit, needs)
                    waiting.append((other, needs))
    return reached
