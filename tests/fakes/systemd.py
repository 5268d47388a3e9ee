# SPDX-License-Identifier: Apache-2.0
"""A systemd in memory: a table of units that behave as scripted. Time passes with each look at the states.

Held to `tests/contract/test_systemd.py`, as the real one.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ashore.nouns.units import RUNNING, JobResult, UnitAction, UnitState, UnitVerb


class Behaviour(Enum):
    STAYS = "stays up"
    ENDS = "a oneshot that ends well"
    FAILS = "a start that fails"
    DIES = "comes up, and fails after `samples` looks"
    FLAPS = "comes up, dies and is restarted, at each look"
    HANGS = "never gets up and never fails"
    GRUMBLES = "stays up, and fails when it is stopped"


@dataclass
class FakeUnit:
    """One unit, and its state as far as PID 1 keeps it."""

    behaviour: Behaviour = Behaviour.STAYS
    load: str = "loaded"
    can_reload: bool = False
    can_start: bool = True
    can_stop: bool = True
    samples: int = 1
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    restarts: int = 0
    invocation: str = ""
    needed_by: tuple[str, ...] = ()
    followed_by: tuple[str, ...] = ()
    wanted_by: tuple[str, ...] = ()
    pulls: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    conflicted_by: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    main_pid: int = 0
    condition: bool = True
    stopped: bool = False
    left: int = field(default=0, repr=False)

    @property
    def type(self) -> str:
        return {Behaviour.ENDS: "oneshot", Behaviour.HANGS: "notify"}.get(self.behaviour, "simple")


class FakeSystemd:
    """`ports.Systemd` over a table of units; `log` has every change that was asked for, in order."""

    def __init__(self, units: Mapping[str, FakeUnit] | None = None) -> None:
        self.units: dict[str, FakeUnit] = dict(units or {})
        self.log: list[str] = []
        self.services: dict[str, tuple[str, ...]] = {}
        """Transient ones, each with its command."""
        self._invocations = itertools.count(1)

    def add(self, name: str, behaviour: Behaviour = Behaviour.STAYS, **state: object) -> FakeUnit:
        """Put a unit in the table; `running=True` starts it first, unlogged."""
        running = state.pop("running", False)
        unit = self.units[name] = FakeUnit(behaviour=behaviour, **state)  # type: ignore[arg-type]
        if running:
            self._up(unit)
        return unit

    def states(self, units: Iterable[str]) -> Mapping[str, UnitState]:
        names = list(dict.fromkeys(units))
        for name in names:
            self._pass_time(name)
        return {name: self._state(name) for name in names}

    def listed(self) -> tuple[str, ...]:
        return tuple(name for name, unit in self.units.items() if unit.active != "inactive")

    def running(self) -> tuple[str, ...]:
        return tuple(name for name, unit in self.units.items() if unit.active in RUNNING)

    def daemon_reload(self) -> None:
        self.log.append("daemon-reload")

    def start_later(self, units: Iterable[str]) -> None:
        for name in units:
            self.log.append(f"start {name}, later")
            if name in self.units and self.units[name].load == "loaded":
                self._up(self.units[name])

    def run_later(self, actions: Sequence[UnitAction]) -> None:
        self.log += [f"{action.verb} {action.unit}, later" for action in actions]
        for action in actions:
            self._job(action)

    def start_service(self, unit: str, argv: Sequence[str], description: str) -> None:
        self.services.setdefault(unit, tuple(argv))

    def reset_failed(self, units: Iterable[str]) -> None:
        for name in units:
            unit = self.units.get(name)
            if unit and unit.active == "failed":
                unit.active, unit.sub, unit.result = "inactive", "dead", "success"

    def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        self.log += [f"{action.verb} {action.unit}" for action in actions if action.unit not in self.services]
        for action in actions:
            self.services.pop(action.unit, None)
        return tuple(self._job(action) for action in actions)

    def _job(self, action: UnitAction) -> JobResult:
        result, detail = self._carried_out(action, self.units.get(action.unit))
        return JobResult(unit=action.unit, verb=action.verb, result=result, detail=detail)

    def _carried_out(self, action: UnitAction, unit: FakeUnit | None) -> tuple[str, str]:
        """The job's result and detail."""
        if unit is None:
            return "skipped" if action.verb is UnitVerb.STOP else "invalid", f"Unit {action.unit} not found."
        if unit.load == "loaded" and _is_refused(action.verb, unit):
            return "invalid", f"Operation refused, unit {action.unit} may be requested by dependency only."
        if action.verb is UnitVerb.STOP:
            self._take_down(action.unit)
            return "done", ""
        if unit.load != "loaded":
            return "invalid", f"Unit {action.unit} is {unit.load}."
        if action.verb is UnitVerb.RELOAD:
            return ("done", "") if unit.can_reload else ("invalid", "Job type reload is not applicable.")
        down = self._take_down(action.unit) if action.verb is UnitVerb.RESTART else []
        if unit.active != "active":
            self._up(unit)
        # A unit that needs one whose start failed stays down: its job ends with "dependency".
        for other in down if unit.active == "active" else []:
            self._up(other)
        return {"failed": ("failed", unit.result), "activating": ("timeout", "activating (start)")}.get(
            unit.active, ("done", "")
        )

    def _up(self, unit: FakeUnit) -> None:
        for other in unit.pulls:
            if other in self.units and self.units[other].active == "inactive":
                self._up(self.units[other])
        for other in (*unit.conflicts, *unit.conflicted_by):
            if other in self.units and self.units[other].active in RUNNING:
                self._take_down(other)
        unit.invocation = f"{next(self._invocations):032x}"
        unit.restarts, unit.result, unit.left, unit.stopped = 0, "success", unit.samples, False
        match unit.behaviour:
            case Behaviour.FAILS:
                unit.active, unit.sub, unit.result = "failed", "failed", "exit-code"
            case Behaviour.ENDS:
                unit.active, unit.sub = "inactive", "dead"
            case Behaviour.HANGS:
                unit.active, unit.sub = "activating", "start"
            case _:
                unit.active, unit.sub = "active", "running"

    def _take_down(self, name: str) -> list[FakeUnit]:
        """Stop a unit, and those that stop with it; these are returned, as far as they ran."""
        unit, others = self.units[name], list[FakeUnit]()
        self._down(unit)
        for other in (*unit.needed_by, *unit.followed_by):
            found = self.units.get(other)
            if found is not None and found.active in {"active", "activating"}:
                others += [found, *self._take_down(other)]
        return others

    def _down(self, unit: FakeUnit) -> None:
        unit.stopped = True
        unit.active, unit.sub, unit.result = "inactive", "dead", "success"
        if unit.behaviour is Behaviour.GRUMBLES:
            unit.active, unit.sub, unit.result = "failed", "failed", "exit-code"

    def _pass_time(self, name: str) -> None:
        unit = self.units.get(name)
        if unit is None or unit.active not in {"active", "activating"}:
            return
        if unit.behaviour is Behaviour.DIES:
            unit.left -= 1
            if unit.left < 0:
                unit.active, unit.sub, unit.result = "failed", "failed", "exit-code"
        elif unit.behaviour is Behaviour.FLAPS:
            unit.restarts += 1
            unit.result, unit.invocation = "exit-code", f"{next(self._invocations):032x}"

    def _state(self, name: str) -> UnitState:
        unit = self.units.get(name)
        if unit is None:
            return UnitState(name=name, load="not-found", active="inactive", sub="dead")
        return UnitState(
            name=name,
            load=unit.load,
            active=unit.active,
            sub=unit.sub,
            result=unit.result,
            type=unit.type,
            restarts=unit.restarts,
            invocation=unit.invocation,
            main_pid=unit.main_pid,
            condition=unit.condition,
            stopped=unit.stopped,
            can_reload=unit.can_reload,
            can_start=unit.can_start and unit.load == "loaded",
            can_stop=unit.can_stop,
            needed_by=unit.needed_by,
            followed_by=unit.followed_by,
            wanted_by=unit.wanted_by,
            pulls=unit.pulls,
            conflicts=unit.conflicts,
            conflicted_by=unit.conflicted_by,
            triggers=unit.triggers,
        )


def _is_refused(verb: UnitVerb, unit: FakeUnit) -> bool:
    starts, stops = verb in (UnitVerb.START, UnitVerb.RESTART), verb in (UnitVerb.STOP, UnitVerb.RESTART)
    return (starts and not unit.can_start) or (stops and not unit.can_stop)
