# SPDX-License-Identifier: Apache-2.0
"""Which units a plan stops, starts, restarts and reloads, each with its reason. Pure: states are passed in.

What does not run is not started by an upgrade: somebody stopped it, or it is not its time (a oneshot, the
service of a timer). A new unit is, and one that had failed: the change may be its repair.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from ashore.nouns.plan import Action, Step
from ashore.nouns.units import UNIT_FOLDERS, UnitAction, UnitState, UnitVerb
from ashore.rules import unitfile
from ashore.rules.enablement import is_template, template_of, unit_of
from ashore.rules.unitpaths import named_paths, own_paths, touches

_NO_RESTART = (".target", ".slice")
"""A daemon-reload is enough: they have no process of their own."""
_TAKES_THE_BUS_DOWN = frozenset({"dbus.service", "dbus-broker.service"})
_KEEPS_A_UNIT = ("Wants", "Requires", "BindsTo", "Requisite", "Upholds", "Sockets", "Unit", "Service")


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The paths that a plan touches, folders aside. `attributes` keep their content."""

    created: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        return self.created | self.replaced | self.removed | self.attributes

    def word(self, path: str) -> str:
        """What happens to `path`, for a reason."""
        return "is new" if path in self.created else "is removed" if path in self.removed else "changed"


class UnitSet(msgspec.Struct, frozen=True, kw_only=True):
    """The units of one generation. `texts` are all unit files and drop-ins that its bundles ship, by path
    (of an old generation only the paths count); `wanted` the units that they want enabled and running."""

    texts: Mapping[str, str] = {}
    wanted: tuple[str, ...] = ()

    def ships(self, unit: str) -> bool:
        """Whether the unit's own file, or its template's, is among them."""
        return any(unit_of(path) in {unit, template_of(unit)} and not _is_drop_in(path) for path in self.texts)


class Reaction(msgspec.Struct, frozen=True, kw_only=True):
    """What ``[[files]]`` declares for a path."""

    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


class UnitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan that concerns units. `stops` come before the swap, `actions` after it."""

    stops: tuple[UnitAction, ...] = ()
    actions: tuple[UnitAction, ...] = ()
    daemon_reload: bool = False
    notes: tuple[str, ...] = ()


def changes_of(steps: Iterable[Step]) -> Changes:
    """What of a plan's steps can concern a unit."""
    found: dict[Action | str, set[str]] = {}
    for step in steps:
        same = step.old is not None and step.old.same_content(step.new)
        found.setdefault("attributes" if same else step.action, set()).add(step.path)
    return Changes(
        created=frozenset(found.get(Action.CREATE, ())),
        replaced=frozenset(found.get(Action.REPLACE, ())),
        removed=frozenset(found.get(Action.REMOVE, ())),
        attributes=frozenset(found.get("attributes", ())),
    )


def concerned(
    changes: Changes, *, old: UnitSet, new: UnitSet, reactions: Mapping[str, Reaction]
) -> tuple[str, ...]:  # fmt: skip
    """Every unit that the plan may act on: ask PID 1 for the states of these. Sorted, no templates."""
    shipped = {unit_of(path) for path in (*old.texts, *new.texts)} | {unit_of(path) for path in changes.all}
    declared = {unit for r in reactions.values() for unit in (*r.reload, *r.restart)}
    units = {unit for unit in shipped if unit} | declared | {*old.wanted, *new.wanted}
    return tuple(sorted(unit for unit in units if not is_template(unit)))


def plan_units(
    changes: Changes,
    *,
    old: UnitSet,
    new: UnitSet,
    states: Mapping[str, UnitState],
    reactions: Mapping[str, Reaction],
    disabled: AbstractSet[str] = frozenset(),
) -> UnitPlan:
    """What to do with units when `changes` take a host from `old` to `new`.

    `states` are those of `concerned`; a unit without one counts as not running. `reactions` are by
    changed path, those of removed paths from the old generation. `disabled` units are those whose
    enablement an administrator took away.
    """
    planner = _Planner(changes=changes, old=old, new=new, states=states, reactions=reactions, disabled=disabled)
    stops = planner.stops()
    stopped = {stop.unit for stop in stops}
    units = [u for u in concerned(changes, old=old, new=new, reactions=reactions) if u not in stopped]
    actions = {unit: action for unit in units if (action := planner.action(unit))}
    actions = planner.with_services_of_sockets(actions)
    return UnitPlan(
        stops=stops,
        actions=tuple(actions[unit] for unit in sorted(actions, key=lambda u: (_ORDER[actions[u].verb], u))),
        daemon_reload=any(path.startswith(_IN_UNIT_FOLDERS) for path in changes.all - changes.attributes),
        notes=tuple(note for unit in units if (note := planner.note(unit))),
    )


_IN_UNIT_FOLDERS = tuple(folder + "/" for folder in UNIT_FOLDERS)
# Jobs are queued together and PID 1 orders them; this order is for readers.
_ORDER = {UnitVerb.STOP: 0, UnitVerb.START: 1, UnitVerb.RESTART: 2, UnitVerb.RELOAD: 3}


class _Planner(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of `plan_units`, and the questions about one unit."""

    changes: Changes
    old: UnitSet
    new: UnitSet
    states: Mapping[str, UnitState]
    reactions: Mapping[str, Reaction]
    disabled: AbstractSet[str]

    def stops(self) -> tuple[UnitAction, ...]:
        shipped = {unit for path in self.old.texts if (unit := unit_of(path))} | {*self.old.wanted}
        candidates = sorted(unit for unit in shipped if self.old.ships(unit) and not is_template(unit))
        return tuple(
            UnitAction(verb=UnitVerb.STOP, unit=unit, reason=reason)
            for unit in candidates
            if self.runs(unit) and (reason := self.stop_reason(unit))
        )

    def stop_reason(self, unit: str) -> str:
        """Why a running unit of the old generation must not run in the new one; empty if it may."""
        if not self.new.ships(unit):
            # A file that is replaced, or left to its former owner, still defines the unit.
            files = [p for p in own_paths(unit, self.old.texts) if not _is_drop_in(p)]
            removed = [path for path in files if path in self.changes.removed]
            return f"{removed[0]} is removed" if removed and len(removed) == len(files) else ""
        dropped = unit in self.old.wanted and unit not in self.new.wanted
        return "no bundle enables it any more" if dropped and not self.needed(unit) else ""

    def action(self, unit: str) -> UnitAction | None:
        if self.masked(unit):
            return None
        reasons = self.restart_reasons(unit)
        if self.is_new(unit) and not self.runs(unit):
            return _act(UnitVerb.START, unit, ["newly enabled"])
        if not self.restartable(unit):
            return None
        if self.failed(unit):
            return _act(UnitVerb.START, unit, [f"{why}, and it had failed" for why in reasons]) if reasons else None
        if reasons:
            return _act(UnitVerb.RESTART, unit, reasons)
        if reloads := self.declared(unit, "reload"):
            if self.states[unit].can_reload:
                return _act(UnitVerb.RELOAD, unit, reloads)
            return _act(UnitVerb.RESTART, unit, [f"{why}, and it cannot reload" for why in reloads])
        return None

    def restart_reasons(self, unit: str) -> list[str]:
        own = own_paths(unit, self.changes.all - self.changes.attributes)
        texts = own_paths(unit, self.new.texts)
        named = named_paths(unit, unitfile.merged(self.new.texts[path] for path in texts))
        reasons = [f"{path} {self.changes.word(path)}" for path in own]
        reasons += self.declared(unit, "restart")
        for path in sorted(self.changes.all - set(own)):
            if unit in self.reactions.get(path, _NO_REACTION).reload:
                continue  # the author says that a reload is enough
            if key := next((key for name, key in named.items() if touches(name, path)), ""):
                reasons.append(f"{path}, named by {key}=, {self.changes.word(path)}")
        return list(dict.fromkeys(reasons))

    def declared(self, unit: str, kind: str) -> list[str]:
        return [
            f"{path} {self.changes.word(path)}"
            for path in sorted(self.changes.all)
            if unit in getattr(self.reactions.get(path, _NO_REACTION), kind)
        ]

    def with_services_of_sockets(self, actions: Mapping[str, UnitAction]) -> dict[str, UnitAction]:
        """A socket restarts only while its service is down, so that one restarts with it."""
        found = dict(actions)
        for unit, action in actions.items():
            if unit.endswith(".socket") and action.verb is UnitVerb.RESTART:
                service = self.service_of(unit)
                planned = found.get(service)
                if self.restartable(service) and not (planned and planned.verb is UnitVerb.RESTART):
                    found[service] = _act(UnitVerb.RESTART, service, [f"its {unit} restarts"])
        return found

    def service_of(self, socket: str) -> str:
        texts = own_paths(socket, self.new.texts)
        settings = unitfile.merged(self.new.texts[path] for path in texts)
        return unitfile.last(settings, "Socket", "Service", socket.removesuffix(".socket") + ".service")

    def note(self, unit: str) -> str:
        affected = self.is_new(unit) or bool(self.restart_reasons(unit) or self.declared(unit, "reload"))
        if not affected:
            return ""
        if self.masked(unit):
            return f"{unit} is masked on this host and stays so: it is not started"
        if unit in self.disabled:
            return f"{unit} was disabled by an administrator and stays so"
        if unit in _TAKES_THE_BUS_DOWN:
            return f"{unit} is not restarted while the host runs: its change takes effect at the next boot"
        return ""

    def needed(self, unit: str) -> bool:
        """Whether a unit of the new generation still pulls this one in."""
        return any(
            unit in unitfile.names(unitfile.parse(text), section, key)
            for path, text in self.new.texts.items()
            if unit_of(path) != unit
            for section in ("Unit", "Service", "Socket", "Timer", "Path")
            for key in _KEEPS_A_UNIT
        )

    def is_new(self, unit: str) -> bool:
        return unit in self.new.wanted and unit not in self.old.wanted and unit not in self.disabled

    def masked(self, unit: str) -> bool:
        return unit in self.states and self.states[unit].load == "masked"

    def runs(self, unit: str) -> bool:
        return unit in self.states and self.states[unit].running

    def failed(self, unit: str) -> bool:
        return unit in self.states and self.states[unit].active == "failed"

    def restartable(self, unit: str) -> bool:
        """Whether a change is a reason to act on it now."""
        if unit in _TAKES_THE_BUS_DOWN or unit.endswith(_NO_RESTART):
            return False
        if self.failed(unit):
            return unit in self.new.wanted and unit not in self.disabled
        # A oneshot in the middle of its work is not broken off.
        return self.runs(unit) and (self.states[unit].type, self.states[unit].active) != ("oneshot", "activating")


_NO_REACTION = Reaction()


def _is_drop_in(path: str) -> bool:
    return path.rpartition("/")[0] not in UNIT_FOLDERS


def _act(verb: UnitVerb, unit: str, reasons: list[str]) -> UnitAction:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return UnitAction(verb=verb, unit=unit, reason=reasons[0] + more)
