# SPDX-License-Identifier: Apache-2.0
"""Units on the way back: what the change set going stops, and what ran before runs again. Live roots only."""

from ashore.acts.tools import Tools
from ashore.acts.transaction.units import DEADLINE, issue_of, stop_orphans, unit_files
from ashore.errors import Issue
from ashore.nouns.journal import Journal, Staged
from ashore.nouns.plan import Action
from ashore.nouns.ports import Systemd
from ashore.nouns.units import UnitAction, UnitState, UnitVerb
from ashore.rules.units import dependants, pulled
from ashore.rules.units.enablement import template_of
from ashore.rules.units.reasons import carries_us


def stop_new(tools: Tools, left: Journal) -> None:
    """Stop what runs only by this transaction's hand, while its unit file is still there."""
    staged = left.staged
    if tools.systemd is None or staged is None or left.begun.boot != tools.boot or not left.units_begun:
        return
    mine = [a.unit for a in staged.actions if not _ran(staged, a.unit)]
    now = tools.systemd.states(mine)
    running = [unit for unit in mine if unit in now and now[unit].active not in ("inactive", "failed")]
    running += [unit for unit in _set_going(tools.systemd, staged) if unit not in mine]
    stops = [UnitAction(verb=UnitVerb.STOP, unit=unit, reason="it did not run before") for unit in running]
    if stops:
        tools.systemd.run(stops, DEADLINE)
    failed = {unit for unit in mine if unit in staged.units and staged.units[unit].active == "failed"}
    # No trace stays of what was new; an alarm that was there before is not ours to end.
    tools.systemd.reset_failed([unit for unit in mine if unit not in failed])
    for unit in sorted(failed.intersection(running)):
        tools.progress.say(f"{unit} had failed before; it was started, and is stopped now")


def _set_going(systemd: Systemd, staged: Staged) -> tuple[str, ...]:
    """What runs by this transaction's hand though it was not told to."""
    if staged.running is None:
        return ()
    before = {*staged.running}
    acted_on = [action.unit for action in staged.actions]
    new = _made(staged)
    shipped = {unit for unit in systemd.running() if not new.isdisjoint({unit, template_of(unit)})}
    states = dict(systemd.states(sorted({*acted_on, *shipped})))
    while missing := pulled.unknown(acted_on, states, before):
        states |= systemd.states(missing)
    states |= systemd.states(pulled.around([n for n, s in states.items() if n not in before and s.running], states))
    return pulled.set_going(acted_on, shipped, states, before)


def _made(staged: Staged) -> frozenset[str]:
    return unit_files((s.step for s in staged.steps), Action.CREATE)


def restore(tools: Tools, left: Journal) -> list[Issue]:
    """After the files went back: what ran before runs again, with its old files. Only within the same boot.

    What still is the same process was not reached, and has read nothing new; unless it was told to reload.
    """
    systemd, staged = tools.systemd, left.staged
    if systemd is None or staged is None:
        return []
    if staged.daemon_reload:
        systemd.daemon_reload()
    if left.begun.boot != tools.boot:
        return []
    orphans = stop_orphans(systemd, _made(staged)) if staged.daemon_reload else []
    actions = _way_back(systemd, staged, left)
    if not actions:
        return orphans
    systemd.reset_failed([action.unit for action in actions])
    failed = [result for result in systemd.run(actions, DEADLINE) if not result.ok]
    # It may have stumbled over the new file, and not take the old one either.
    again = [
        UnitAction(verb=UnitVerb.RESTART, unit=result.unit, reason="its old files are back, and it did not reload")
        for result in failed
        if result.verb is UnitVerb.RELOAD
    ]
    failed = [result for result in failed if result.verb is not UnitVerb.RELOAD]
    failed += [result for result in systemd.run(again, DEADLINE) if not result.ok] if again else []
    return [*orphans, *(issue_of(result) for result in failed)]


def _way_back(systemd: Systemd, staged: Staged, left: Journal) -> list[UnitAction]:
    touched = {a.unit for a in (*staged.stops, *staged.actions) if _ran(staged, a.unit)}
    reloaded = {a.unit for a in staged.actions if a.verb is UnitVerb.RELOAD and left.units_begun}
    now = systemd.states(sorted(staged.units))
    actions = []
    for unit in sorted(staged.units):
        if not _ran(staged, unit) or carries_us(unit):
            continue
        state = now.get(unit)
        if state is None or not state.running:
            if not _comes_back(left, staged, unit, state):
                continue
            actions.append(UnitAction(verb=UnitVerb.START, unit=unit, reason="it ran before"))
        elif unit in touched and state.invocation != staged.units[unit].invocation:
            actions.append(UnitAction(verb=UnitVerb.RESTART, unit=unit, reason="its old files are back"))
        elif unit in reloaded:
            actions.append(UnitAction(verb=UnitVerb.RELOAD, unit=unit, reason="its old files are back"))
    return actions


def _comes_back(left: Journal, staged: Staged, unit: str, state: UnitState | None) -> bool:
    """Whether it is down by this transaction's hand, or may be: not what ended its work, or somebody stopped, while
    nothing of ours was at work."""
    stopped = [action.unit for action in staged.stops]
    down = {*stopped, *(found.unit for found in dependants.dependants(stopped, staged.units))}
    if state is None or unit in down or state.active == "failed":
        return True
    before = staged.units[unit]
    well = state.result == "success"
    if well and (before.type, before.active) == ("oneshot", "activating"):
        return state.invocation not in ("", before.invocation)  # PID 1 forgets what is done
    ended = well and not state.stopped and state.invocation == before.invocation
    return left.units_begun or (bool(left.ran) and not ended)


def _ran(staged: Staged, unit: str) -> bool:
    state = staged.units.get(unit)
    return state is not None and state.running
