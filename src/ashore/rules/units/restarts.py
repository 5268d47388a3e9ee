# SPDX-License-Identifier: Apache-2.0
"""Which units a plan stops, starts, restarts and reloads, each with its reason. Pure: states are passed in.

What does not run is not started by an upgrade: somebody stopped it, or it is not its time (a oneshot, the
service of a timer). A new unit is, and one that had failed or was skipped: the change may be its repair.
"""

from collections.abc import Iterable, Mapping

from ashore.nouns.units import HostUnits, UnitAction, UnitState, UnitVerb
from ashore.rules.units import unitfile
from ashore.rules.units.borrowed import may_stop, pulled_in, started, unlinked
from ashore.rules.units.dependants import dependants, with_dependants
from ashore.rules.units.enablement import is_template, template_of, unit_of
from ashore.rules.units.hidden import hidden
from ashore.rules.units.known import Known
from ashore.rules.units.reasons import IN_UNIT_FOLDERS, Reasons
from ashore.rules.units.reboot import PID_1, reboot_reasons
from ashore.rules.units.situation import Situation, UnitPlan, is_drop_in_path
from ashore.rules.units.unitpaths import own_paths

_NO_RESTART = (".target", ".slice")
"""A daemon-reload is enough: they have no process of their own."""
TAKES_THE_BUS_DOWN = frozenset({"dbus.service", "dbus-broker.service"})
STAYS_DISABLED = "{} was disabled by an administrator and stays so"
_OPENED_ANEW = (".socket", ".timer", ".path")
"""Units of the host that have no process, and are restarted for a drop-in of theirs all the same."""
_TOLD_OF = (".service", ".mount", ".automount", ".swap", *_OPENED_ANEW)
_MOST_NAMED = 3
_NOBODY = "no bundle enables it any more"


def reasons_of(situation: Situation) -> Reasons:
    """What gives units a reason to act: made once, since it reads all unit files."""
    changed = situation.changes.all
    texts = {path: text for path, text in situation.host.texts.items() if path not in changed}
    return Reasons(situation.changes, texts | dict(situation.new.texts), situation.reactions, situation.host)


def concerned(situation: Situation, reasons: Reasons) -> tuple[str, ...]:
    """Every unit that the plan may act on: ask PID 1 for the states of these. Sorted, no templates."""
    return _Planner(situation, reasons, {}).concerned()


def plan_units(situation: Situation, reasons: Reasons, states: Mapping[str, UnitState]) -> UnitPlan:
    """What to do with units when changes take a host from an old to a new generation.

    `states` are those of `concerned`, and of what `dependants.unknown` asks for; a unit without one counts
    as not running.
    """
    planner = _Planner(situation, reasons, states)
    units = planner.concerned()
    stops = planner.stops(units)
    stopped = {stop.unit for stop in stops}
    units = tuple(unit for unit in units if unit not in stopped)
    actions = {unit: action for unit in units if (action := planner.possible(unit))}
    actions = planner.with_services_of_sockets(actions)
    ordered = tuple(sorted(actions.values(), key=_order))
    stops, ordered, notes = with_dependants(stops, ordered, states, unlinked(planner.changes, (".requires",)))
    ordered = tuple(action for action in ordered if not planner.serves_a_connection(action.unit))
    changes = situation.changes
    said = (note for unit in units if (note := planner.note(unit)))
    borrowed = {unit for unit in situation.new.wanted if not situation.new.ships(unit)}
    return UnitPlan(
        stops=stops,
        started=started(situation.old.started, ordered, borrowed, states),
        actions=ordered,
        daemon_reload=any(path.startswith(IN_UNIT_FOLDERS) for path in changes.contents),
        reboot=reboot_reasons(changes, situation.host.mapped),
        notes=(
            *said,
            *planner.notes_of_stale(units),
            *notes,
            *hidden(situation.new.texts, changes),
            *_outside(situation.host),
        ),
    )


_ORDER = {UnitVerb.STOP: 0, UnitVerb.START: 1, UnitVerb.RESTART: 2, UnitVerb.RELOAD: 3}


def _order(action: UnitAction) -> tuple[int, bool, str]:
    """Jobs are queued together and PID 1 orders them, as far as it knows of them: what has to end comes first, should
    it begin with that. A socket starts before its service, and restarts when that one is down."""
    late = action.unit.endswith(".socket") is (action.verb is UnitVerb.RESTART)
    return _ORDER[action.verb], late, action.unit


class _Planner(Known):
    """The plan, unit by unit."""

    def concerned(self) -> tuple[str, ...]:
        shipped = {unit_of(path) for path in (*self.old.texts, *self.new.texts)}
        shipped |= {unit_of(path) for path in self.changes.all}
        declared = {unit for r in self.reactions.values() for unit in (*r.reload, *r.restart)}
        units = {unit for unit in shipped if unit} | declared | {*self.old.wanted, *self.new.wanted}
        units |= {unit for unit in self.host.listed if self.reasons.own(unit) or self.reasons.named(unit)}
        units |= {unit for unit in self.host.listed if template_of(unit) in declared}
        units |= {unit for unit in self.host.mapped if unit.endswith(".service")}
        return tuple(sorted(unit for unit in units if not is_template(unit)))

    def stops(self, units: Iterable[str]) -> tuple[UnitAction, ...]:
        return tuple(
            UnitAction(verb=UnitVerb.STOP, unit=unit, reason=reason)
            for unit in units
            if self.runs(unit) and (reason := self.stop_reason(unit)) and not self.refuses_now(unit, "Stop")
        )

    def stop_reason(self, unit: str) -> str:
        """Why a running unit must not run in the new generation; empty if it may."""
        if (mask := self.reasons.masked_by(unit)) and unit not in TAKES_THE_BUS_DOWN:
            return f"{mask} masks it"
        if not self.old.ships(unit):
            ends = unit in self.old.started and self.let_go(unit) and may_stop(unit)
            return _NOBODY if ends and not pulled_in(self.states[unit], self.changes, self.host.pulled) else ""
        if not self.new.ships(unit):
            # A file that is replaced, left to its former owner, or was hidden so far, still defines the unit.
            files = [p for p in own_paths(unit, self.old.texts) if not is_drop_in_path(p)]
            removed = [path for path in files if path in self.changes.removed]
            gone = len(removed) == len(files) and not (self.reasons.defined(unit) and not self.was_enabled_by_us(unit))
            return f"{removed[0]} is removed" if removed and gone else ""
        dropped = unit in self.old.wanted and unit not in self.new.wanted
        return _NOBODY if dropped and not self.needed(unit) else ""

    def possible(self, unit: str) -> UnitAction | None:
        """What to do with it, as far as nothing stands against it."""
        if self.runs(unit) and self.stop_reason(unit):
            return None  # it cannot be stopped
        action = self.action(unit)
        return action if action and not self.hindrance(action) else None

    def action(self, unit: str) -> UnitAction | None:
        if self.masked(unit):
            return None
        if self.is_new(unit) and not self.runs(unit):
            return _act(UnitVerb.START, unit, ["newly enabled"])
        if self.comes_back(unit):
            return _act(UnitVerb.START, unit, ["not masked any more"])
        reasons = self.restart_reasons(unit)
        if self.skipped(unit) and (holds := self.reasons.conditions(unit)):
            return _act(UnitVerb.START, unit, holds)
        if not self.restartable(unit):
            return None
        if self.failed(unit):
            return _act(UnitVerb.START, unit, [f"{why}, and it had failed" for why in reasons]) if reasons else None
        if reasons:
            return _act(UnitVerb.RESTART, unit, reasons)
        if reloads := [*self.reasons.reloads(unit), *self.remounts(unit)]:
            if self.states[unit].can_reload:
                return _act(UnitVerb.RELOAD, unit, reloads)
            return _act(UnitVerb.RESTART, unit, [f"{why}, and it cannot reload" for why in reloads])
        return None

    def hindrance(self, action: UnitAction) -> str:
        """Why it is not carried out, as a note; empty if it is."""
        unit, reason = action.unit, action.reason
        if action.verb is UnitVerb.START and self.refuses(unit, "Start"):
            return f"{unit} may not be started by hand: it starts when the boot, or another unit, pulls it in"
        if action.verb is not UnitVerb.RESTART:
            return ""
        if any(self.refuses(other, what) for other in self.restarting(unit) for what in ("Start", "Stop")):
            return f"{unit} may not be restarted by hand: its change takes effect at the next boot"
        with_it = [found.unit for found in dependants(self.restarting(unit), self.states)]
        if unit.endswith(".socket") and self.runs(service := self.service_of(unit)):
            with_it.insert(0, service)
        if ended := next((other for other in with_it if self.ends_sessions(other)), ""):
            return f"{unit} is not restarted, since {ended} would go down with it, and runs on as it was: {reason}"
        return ""

    def restarting(self, unit: str) -> tuple[str, ...]:
        """What a restart of the unit restarts: a socket only while its service is down, so that one as well."""
        if unit.endswith(".socket") and self.restartable(service := self.service_of(unit)):
            return unit, service
        return (unit,)

    def restart_reasons(self, unit: str) -> list[str]:
        """Why it has to restart. A unit that no bundle has anything to do with restarts only while a process of
        its own runs: a oneshot of the host is not run again. Nor does it for a drop-in for all that are of its kind."""
        reasons = [*self.own_reasons(unit), *self.reasons.restarts(unit), *self.other_reasons(unit)]
        by_path: dict[str, str] = {}
        for why in reasons:
            by_path.setdefault(why.partition(" ")[0].rstrip(","), why)
        return list(by_path.values())

    def own_reasons(self, unit: str) -> list[str]:
        """Those that are its own file and drop-ins."""
        if self.is_spared(unit) and unit not in TAKES_THE_BUS_DOWN:
            return []
        if not self.is_foreign(unit):
            return self.reasons.own(unit) if not self.remounts(unit) else []
        restarts = unit.endswith(_OPENED_ANEW) or self.works(unit)
        return self.reasons.own(unit, by_name=True) if restarts else []

    def remounts(self, unit: str) -> list[str]:
        """Why a mount is only to be mounted with other options: to unmount it would take it from all who use it."""
        if not unit.endswith(".mount") or not self.runs(unit) or not self.states[unit].can_reload:
            return []
        own = self.reasons.own(unit, by_name=self.is_foreign(unit))
        return own if own and self.is_the_same_but_for_options(unit) else []

    def other_reasons(self, unit: str) -> list[str]:
        """Those that are files which it names or has in memory."""
        if self.is_spared(unit):
            return []
        if not self.is_foreign(unit):
            return [*self.reasons.named(unit), *self.reasons.mapped(unit), *self.reasons.conditions(unit)]
        return [*self.reasons.named(unit), *self.reasons.mapped(unit)] if self.has_process(unit) else []

    def with_services_of_sockets(self, actions: Mapping[str, UnitAction]) -> dict[str, UnitAction]:
        """Those that restart with their sockets."""
        found = dict(actions)
        for unit, action in actions.items():
            for service in self.restarting(unit)[1:] if action.verb is UnitVerb.RESTART else ():
                planned = found.get(service)
                if not (planned and planned.verb is UnitVerb.RESTART):
                    found[service] = _act(UnitVerb.RESTART, service, [f"its {unit} restarts"])
        return found

    def service_of(self, socket: str) -> str:
        """What keeps the socket from restarting while it runs."""
        if self.accepts(socket):
            return ""  # one for each connection: those go on, and do not keep the socket from restarting
        default = (*self.states[socket].triggers, socket.removesuffix(".socket") + ".service")[0]
        return unitfile.last(self.reasons.settings(socket), "Socket", "Service", default)

    def note(self, unit: str) -> str:
        if self.runs(unit) and self.stop_reason(unit):
            return f"{unit} may not be stopped by hand: it runs on until the next boot"
        declared = [*self.reasons.restarts(unit), *self.reasons.reloads(unit)]
        if declared and self.is_nowhere(unit):
            return f"this host has no {unit}, and nothing is restarted or reloaded by that name: {declared[0]}"
        affected = self.is_new(unit) or bool(declared or self.restart_reasons(unit))
        if not affected:
            runs_on = self.runs(unit) and self.let_go(unit)
            return f"no bundle enables {unit} any more; it is the host's, and runs on" if runs_on else ""
        if unit in TAKES_THE_BUS_DOWN:
            return f"{unit} is not restarted while the host runs: its change takes effect at the next boot"
        if self.reasons.masked_by(unit):
            return ""  # it does not run, and shall not
        if self.reasons.unmasked(unit) and not (self.runs(unit) or self.is_new(unit) or self.comes_back(unit)):
            return f"{unit} is not masked any more; nothing enables it, and it is not started"
        if self.masked(unit):
            return f"{unit} is masked on this host and stays so: it is not started"
        if unit in self.disabled:
            return STAYS_DISABLED.format(unit)
        action = self.action(unit)
        return self.hindrance(action) if action else ""

    def notes_of_stale(self, units: Iterable[str]) -> Iterable[str]:
        """What units of the host that are left alone still run with."""
        found: dict[str, list[str]] = {}
        for unit in units:
            if stale := self.stale(unit):
                found.setdefault(stale[0], []).append(unit)
        for why, names in found.items():
            if len(names) > _MOST_NAMED:
                names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} others"]
            if len(names) == 1:
                yield f"{names[0]} is not restarted, and runs on as it was: {why}"
            else:
                shown = f"{', '.join(names[:-1])} and {names[-1]}"
                yield f"{shown} are not restarted, and run on as they were: {why}"

    def stale(self, unit: str) -> list[str]:
        """What would be reasons to restart a unit of the host that is left alone."""
        if self.ships(unit) or not self.runs(unit) or not unit.endswith(_TOLD_OF) or unit.startswith("ashore-"):
            return []
        reasons = self.reasons.own(unit)
        if self.is_spared(unit):
            reasons += [*self.reasons.mapped(unit), *self.reasons.named(unit)]
        return reasons if not (self.restart_reasons(unit) or self.remounts(unit)) else []

    def ends_sessions(self, unit: str) -> bool:
        """Whether to take it down is to end somebody's session, or our own work."""
        return unit in TAKES_THE_BUS_DOWN or self.is_spared(unit)

    def restartable(self, unit: str) -> bool:
        """Whether a change is a reason to act on it now."""
        if unit in TAKES_THE_BUS_DOWN or unit.endswith(_NO_RESTART) or self.serves_a_connection(unit):
            return False
        if self.failed(unit):
            return unit in self.new.wanted and unit not in self.disabled
        # A oneshot in the middle of its work is not broken off.
        return self.runs(unit) and (self.states[unit].type, self.states[unit].active) != ("oneshot", "activating")


def _outside(host: HostUnits) -> Iterable[str]:
    """Notes on processes of sessions and containers: nobody restarts those."""
    for unit, paths in host.mapped.items():
        if not unit.endswith(".service") and unit != PID_1:
            yield f"{unit or 'a process of no unit'} runs on with the old {paths[0]}"


def _act(verb: UnitVerb, unit: str, reasons: list[str]) -> UnitAction:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return UnitAction(verb=verb, unit=unit, reason=reasons[0] + more)
