# SPDX-License-Identifier: Apache-2.0
"""Units during a transaction: noted, stopped, brought up, judged, and put back as they ran. Live roots only."""

from collections.abc import Collection, Mapping, Sequence

from ashore.acts.tools import Tools
from ashore.acts.transaction.health import answering, watch
from ashore.acts.transaction.late import Started
from ashore.errors import Issue, UnitsFailedError
from ashore.nouns.bundle import Health
from ashore.nouns.journal import Staged
from ashore.nouns.plan import Action, Plan
from ashore.nouns.ports import Systemd
from ashore.nouns.units import JobResult, UnitAction, UnitState, UnitVerb
from ashore.rules.units import dependants
from ashore.rules.units.enablement import is_template, template_of, unit_of
from ashore.rules.units.health import Watched, start_seconds, to_watch
from ashore.rules.units.reasons import carries_us

_DEADLINE = 120.0
"""Seconds for all jobs of one phase; a unit's own TimeoutStartSec usually ends earlier."""


def snapshot(tools: Tools, plan: Plan) -> Mapping[str, UnitState]:
    """How the units that a plan may touch run now."""
    if tools.systemd is None:
        return {}
    acted_on = [action.unit for action in (*plan.stops, *plan.actions)]
    names = {*acted_on, *(unit for bundle in plan.bundles for unit in bundle.enabled)}
    names |= {health.unit for bundle in plan.bundles for health in bundle.health if health.unit}
    states = dict(tools.systemd.states(sorted(names))) if names else {}
    # What goes down with them belongs to nobody here perhaps, and has to come back all the same.
    while missing := dependants.unknown(acted_on, states):
        states |= tools.systemd.states(missing)
    return states


def stop(tools: Tools, stops: Sequence[UnitAction]) -> None:
    """Stop what must not run while its files go."""
    if tools.systemd is not None and stops:
        failed = [r for r in tools.systemd.run(stops, _DEADLINE) if not r.ok]
        if failed:
            raise UnitsFailedError("units did not stop", issues=[_issue(result) for result in failed])


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
    if plan.daemon_reload:
        systemd.daemon_reload()
        # A unit that had failed and has no file any more would be listed for ever.
        systemd.reset_failed([*(action.unit for action in plan.stops), *_without_file(systemd, plan)])
    tools.placed()
    if plan.actions:
        systemd.reset_failed([action.unit for action in plan.actions])
    for action in plan.actions:
        tools.progress.say(f"{action.verb} {action.unit}: {action.reason}")
    results = systemd.run(plan.actions, start_seconds(plan, _DEADLINE)) if plan.actions else ()
    failed = [_issue(result) for result in results if not result.ok]
    watched: tuple[Watched, ...] = ()
    since = tools.uptime()
    if not failed:
        watched = to_watch(plan, before, touched=touched, answered=answered)
        failed = list(watch(systemd, watched, clock=tools.clock, sleep=tools.sleep))
    if failed:
        raise UnitsFailedError(
            "units did not come up; the host is as it was before",
            remedy="the image is held: it is installed again only by a new tag or an explicit install",
            issues=failed,
        )
    return Started(watched=watched if plan.actions else (), since=since)


def _without_file(systemd: Systemd, plan: Plan) -> list[str]:
    """Units whose file a plan took away, whether they ran or not; of a template, its instances that are there."""
    gone = {
        unit
        for step in plan.steps
        if step.action is Action.REMOVE and (unit := unit_of(step.path)) and step.path.endswith(f"/{unit}")
    }
    instances = systemd.listed() if any(is_template(unit) for unit in gone) else ()
    return sorted({*gone, *(unit for unit in instances if template_of(unit) in gone)})


def stop_new(tools: Tools, staged: Staged, boot: str) -> None:
    """Stop what runs only by this transaction's hand, while its unit file is still there."""
    if tools.systemd is None or boot != tools.boot:
        return
    mine = [a.unit for a in staged.actions if not _ran(staged, a.unit)]
    now = tools.systemd.states(mine) if mine else {}
    stops = [
        UnitAction(verb=UnitVerb.STOP, unit=unit, reason="it did not run before")
        for unit in mine
        if unit in now and now[unit].active not in ("inactive", "failed")
    ]
    if stops:
        tools.systemd.run(stops, _DEADLINE)
    if mine:
        tools.systemd.reset_failed(mine)


def restore(tools: Tools, staged: Staged, boot: str) -> list[Issue]:
    """After the files went back: what ran before runs again, with its old files. Only within the same boot.

    What still is the same process was not reached, and has read nothing new.
    """
    systemd = tools.systemd
    if systemd is None:
        return []
    if staged.daemon_reload:
        systemd.daemon_reload()
    if boot != tools.boot:
        return []
    touched = {a.unit for a in (*staged.stops, *staged.actions) if _ran(staged, a.unit)}
    reloaded = {a.unit for a in staged.actions if a.verb is UnitVerb.RELOAD}
    now = systemd.states(sorted(staged.units)) if staged.units else {}
    actions = []
    for unit in sorted(staged.units):
        if not _ran(staged, unit) or carries_us(unit):
            continue
        state = now.get(unit)
        if state is None or not state.running:
            actions.append(UnitAction(verb=UnitVerb.START, unit=unit, reason="it ran before"))
        elif unit in touched and (unit in reloaded or state.invocation != staged.units[unit].invocation):
            actions.append(UnitAction(verb=UnitVerb.RESTART, unit=unit, reason="its old files are back"))
    if not actions:
        return []
    systemd.reset_failed([action.unit for action in actions])
    return [_issue(result) for result in systemd.run(actions, _DEADLINE) if not result.ok]


def _ran(staged: Staged, unit: str) -> bool:
    state = staged.units.get(unit)
    return state is not None and state.running


def _issue(result: JobResult) -> Issue:
    detail = f": {result.detail}" if result.detail else ""
    return Issue(
        where=result.unit,
        message=f"{result.verb} ended with {result.result}{detail}",
        remedy=f"journalctl -u {result.unit}",
    )
