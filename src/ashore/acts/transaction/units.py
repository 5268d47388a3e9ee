# SPDX-License-Identifier: Apache-2.0
"""Units during a transaction: noted, stopped, brought up and judged. Live roots only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from ashore.acts.tools import Tools
from ashore.acts.transaction.health import answering, watch
from ashore.acts.transaction.lastwords import with_last_words
from ashore.acts.transaction.late import Started
from ashore.errors import AS_BEFORE, Issue, UnitsFailedError
from ashore.mechanisms.state import journal
from ashore.nouns.bundle import Health
from ashore.nouns.files import parent
from ashore.nouns.journal import Staged
from ashore.nouns.plan import Action, Plan, Step
from ashore.nouns.ports import Systemd
from ashore.nouns.units import UNIT_FOLDERS, JobResult, UnitAction, UnitState, UnitVerb
from ashore.rules.units import dependants
from ashore.rules.units.enablement import is_template, template_of, unit_of
from ashore.rules.units.health import Watched, start_seconds, to_watch

DEADLINE = 120.0
"""Seconds for all jobs of one phase; a unit's own TimeoutStartSec usually ends earlier."""


def noted(tools: Tools, plan: Plan, staged: Staged) -> Staged:
    """`staged`, and how the units run now: what the way back goes by."""
    if tools.systemd is None:
        return staged
    running = tools.systemd.running() if plan.actions else None
    return msgspec.structs.replace(staged, running=running, units=_states(tools.systemd, plan), notes_units=True)


def _states(systemd: Systemd, plan: Plan) -> Mapping[str, UnitState]:
    """How the units that a plan may touch run now."""
    acted_on = [action.unit for action in (*plan.stops, *plan.actions)]
    names = {*acted_on, *plan.gave_way, *(unit for bundle in plan.bundles for unit in bundle.enabled)}
    names |= {health.unit for bundle in plan.bundles for health in bundle.health if health.unit}
    names |= {unit for unit in unit_files(plan.steps, Action.REMOVE) if not is_template(unit)}
    states = dict(systemd.states(sorted(names)))
    # What goes down with them belongs to nobody here perhaps, and has to come back all the same.
    while missing := dependants.unknown(acted_on, states):
        states |= systemd.states(missing)
    return states


def stop(tools: Tools, stops: Sequence[UnitAction]) -> None:
    """Stop what must not run while its files go."""
    if tools.systemd is not None and stops:
        failed = [r for r in tools.systemd.run(stops, DEADLINE) if not r.ok]
        if failed:
            raise UnitsFailedError("units did not stop", issues=[issue_of(result) for result in failed])


def others_well(tools: Tools, plan: Plan, touched: Collection[str]) -> frozenset[Health]:
    """The checks of bundles that a plan is not about, as far as they hold before it: they have to hold after it."""
    if tools.systemd is None:
        return frozenset()
    checks = [health for bundle in plan.bundles if bundle.name not in touched for health in bundle.health]
    return answering(checks, tools.systemd) if checks else frozenset()


def bring_up(
    tools: Tools,
    plan: Plan,
    before: Mapping[str, UnitState],
    *,
    touched: Collection[str] = (),
    answered: Collection[Health] = (),
) -> Started:
    """Reload, start, restart, and watch until health is settled (`rules.units.health.to_watch` says of what).

    Returns what was found healthy.

    Raises:
        UnitsFailedError: something did not come up, or did not stay up.
    """
    systemd = tools.systemd
    if systemd is None:
        return Started()
    if plan.daemon_reload or plan.actions:
        journal.units_begun(tools.state)
    failed: list[Issue] = []
    if plan.daemon_reload:
        systemd.daemon_reload()
        # A unit that had failed and has no file any more would be listed for ever.
        gone = unit_files(plan.steps, Action.REMOVE)
        failed += stop_orphans(systemd, gone - _left_running(before))
        systemd.reset_failed([*(action.unit for action in plan.stops), *_listed(systemd, gone)])
    tools.placed()
    systemd.reset_failed([action.unit for action in plan.actions])
    for action in plan.actions:
        tools.progress.say(f"{action.verb} {action.unit}: {action.reason}")
    begun = tools.uptime()
    results = systemd.run(plan.actions, start_seconds(plan, DEADLINE)) if plan.actions else ()
    failed += [issue_of(result) for result in results if not result.ok]
    watched: tuple[Watched, ...] = ()
    since = tools.uptime()
    if not failed:
        watched = to_watch(plan, before, touched=touched, answered=answered)
        failed = list(watch(systemd, watched, clock=tools.clock, sleep=tools.sleep))
    if failed:
        raise UnitsFailedError(f"units did not come up{AS_BEFORE}", issues=with_last_words(tools, failed, begun))
    return Started(watched=watched if plan.actions else (), since=since)


def _left_running(before: Mapping[str, UnitState]) -> set[str]:
    """What ran, and nobody may stop: without its file PID 1 would not refuse that any more."""
    return {unit for unit, state in before.items() if state.running and not state.can_stop}


def unit_files(steps: Iterable[Step], action: Action) -> frozenset[str]:
    """The units, and templates, whose files these steps are about."""
    paths = (step.path for step in steps if step.action is action and parent(step.path) in UNIT_FOLDERS)
    return frozenset(unit for path in paths if (unit := unit_of(path)))


def stop_orphans(systemd: Systemd, gone: AbstractSet[str]) -> list[Issue]:
    """Stop units whose files are gone, and that something which ran on with the old ones had started once more."""
    found = [unit for unit in systemd.running() if unit in gone or template_of(unit) in gone] if gone else []
    states = systemd.states(found)
    stops = [
        UnitAction(verb=UnitVerb.STOP, unit=unit, reason="its file is gone")
        for unit, state in states.items()
        if state.load == "not-found"
    ]
    return [issue_of(result) for result in systemd.run(stops, DEADLINE) if not result.ok] if stops else []


def _listed(systemd: Systemd, gone: AbstractSet[str]) -> list[str]:
    """Units whose files are gone, whether they ran or not; of a template, its instances that are there."""
    instances = systemd.listed() if any(map(is_template, gone)) else ()
    return sorted({*gone, *(unit for unit in instances if template_of(unit) in gone)})


def issue_of(result: JobResult) -> Issue:
    detail = f": {result.detail}" if result.detail else ""
    return Issue(
        where=result.unit,
        message=f"{result.verb} ended with {result.result}{detail}",
        remedy=f"journalctl -u {result.unit}",
    )
