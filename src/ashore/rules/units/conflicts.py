# SPDX-License-Identifier: Apache-2.0
"""What gives way to a unit that starts, by ``Conflicts=``, and runs again when that unit goes. Pure.

PID 1 stops it by itself and never starts it again. It is planned, so that the plan shows it, a transaction that goes
back knows that it ran, and the record says what to start when nothing is in its way any more.
"""

from collections.abc import Mapping

import msgspec

from ashore.nouns.units import UnitAction, UnitState, UnitVerb
from ashore.rules.units import unitfile
from ashore.rules.units.dependants import dependants
from ashore.rules.units.dependants import unknown as unknown_dependants
from ashore.rules.units.reasons import Reasons
from ashore.rules.units.situation import Situation, UnitPlan


class Conflicts(msgspec.Struct, frozen=True, kw_only=True):
    """What the questions are about. `gave_way`: units that are down by now, each with the one that is in its way."""

    situation: Situation
    reasons: Reasons
    gave_way: Mapping[str, str]

    def unknown(self, planned: UnitPlan, states: Mapping[str, UnitState]) -> tuple[str, ...]:
        """Units whose states have to be asked for before `settled` can answer."""
        starts = [action.unit for action in planned.actions]
        names = {*self.gave_way, *self.gave_way.values()}
        names |= {other for unit in (*starts, *self.gave_way) for other in self._of(unit, states)}
        return tuple(sorted({*(names - states.keys()), *unknown_dependants(names & states.keys(), states)}))

    def settled(self, planned: UnitPlan, states: Mapping[str, UnitState]) -> UnitPlan:
        """`planned`, with what gives way to its units, and what comes back."""
        known = {action.unit for action in (*planned.stops, *planned.actions)}
        down = {unit: found for unit, found in self._victims(planned, states).items() if unit not in known}
        kept = self._kept_down(planned, states)
        back = {
            unit: by
            for unit, by in sorted(self.gave_way.items())
            if unit not in {*kept, *known, *down} and self._can_start(unit, states)
        }
        starts = tuple(
            UnitAction(verb=UnitVerb.START, unit=unit, reason=f"it had given way to {by}")
            for unit, by in back.items()
            if states[unit].can_start
        )
        stops = tuple(stop for stop, _ in down.values())
        return msgspec.structs.replace(
            planned,
            stops=(*planned.stops, *(stop for stop in stops if states[stop.unit].can_stop)),
            actions=(*planned.actions, *starts),
            gave_way={unit: by for unit, by in kept.items() if self._is_ours(by)}
            | {unit: by for unit, (_, by) in down.items()},
            notes=(
                *planned.notes,
                # PID 1 alone may do so, and does when the other starts.
                *(f"{s.unit} stops, since {s.reason}" for s in stops if not states[s.unit].can_stop),
                *(
                    f"{unit} had given way to {by}, and may not be started by hand"
                    for unit, by in back.items()
                    if not states[unit].can_start
                ),
            ),
        )

    def _victims(self, planned: UnitPlan, states: Mapping[str, UnitState]) -> dict[str, tuple[UnitAction, str]]:
        found: dict[str, tuple[UnitAction, str]] = {}
        for by in _starting(planned):
            ours = [name for name in self._of(by, states) if name in states and states[name].running and name != by]
            reasons = dict.fromkeys(sorted(ours), f"it conflicts with {by}, which starts")
            reasons |= {d.unit: f"it goes down with {d.cause}" for d in dependants(ours, states) if d.unit != by}
            # What bundles want to run must run on: it is watched, and the change goes back.
            for name, reason in ((n, r) for n, r in reasons.items() if n not in self.situation.new.wanted):
                found.setdefault(name, (UnitAction(verb=UnitVerb.STOP, unit=name, reason=reason), by))
        return found

    def _of(self, unit: str, states: Mapping[str, UnitState]) -> tuple[str, ...]:
        """What cannot run beside `unit`, as it will be: its own word, and that of others."""
        names = unitfile.names(self.reasons.settings(unit), "Unit", "Conflicts")
        state = states.get(unit)
        if state is None:
            return names
        host = () if self.situation.new.ships(unit) else state.conflicts
        return tuple(dict.fromkeys((*names, *host, *state.conflicted_by)))

    def _kept_down(self, planned: UnitPlan, states: Mapping[str, UnitState]) -> dict[str, str]:
        """What does not come back yet, each with what is in its way: the unit from before, or another that its start
        would take down; and what needs such a one."""
        stopped = {stop.unit for stop in planned.stops}
        starts = _starting(planned)
        up = {*starts, *(name for name, state in states.items() if state.running and name not in stopped)}
        kept: dict[str, str] = {}
        for unit, by in self.gave_way.items():
            if by not in stopped and self._is_in_the_way(by, states):
                kept[unit] = by
            elif self._can_start(unit, states):
                others = sorted(up.intersection((*starts, *self._of(unit, states))))
                kept |= [(unit, other) for other in others if unit in self._of(other, states)][:1]
        while more := {
            unit: kept[needed]
            for unit in self.gave_way.keys() & states.keys() - kept.keys()
            for needed in kept.keys() & {*states[unit].pulls}
        }:
            kept |= more
        return kept

    def _is_in_the_way(self, by: str, states: Mapping[str, UnitState]) -> bool:
        others = {unit for unit, of in self.gave_way.items() if of == by}
        return self._is_ours(by) and not others.isdisjoint(self._of(by, states))

    def _is_ours(self, unit: str) -> bool:
        """Whether a bundle has to do with it; what somebody else runs in the place of another is his."""
        return self.situation.new.ships(unit) or unit in self.situation.new.wanted

    def _can_start(self, unit: str, states: Mapping[str, UnitState]) -> bool:
        old, new = self.situation.old, self.situation.new
        goes = old.ships(unit) and not new.ships(unit) and not self.reasons.defined(unit)
        state = states.get(unit)
        return not goes and state is not None and state.load == "loaded" and not state.running


def _starting(planned: UnitPlan) -> list[str]:
    return [a.unit for a in planned.actions if a.verb in (UnitVerb.START, UnitVerb.RESTART)]
