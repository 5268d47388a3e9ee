# SPDX-License-Identifier: Apache-2.0
"""Observe the host, ask the rules, and put their answers together into one plan."""

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence

import msgspec

from ashore.acts.plan.adoption import edited_packages_files
from ashore.acts.plan.desire import Part
from ashore.acts.plan.enabling import dangling
from ashore.acts.plan.grounds import Grounds
from ashore.acts.plan.libraries import Libraries
from ashore.acts.plan.merging import merge_edits
from ashore.acts.plan.obstacles import in_the_way
from ashore.acts.plan.reactions import React
from ashore.acts.tools import Tools
from ashore.errors import ConflictError, Issue
from ashore.mechanisms.host.observe import folders, observe
from ashore.mechanisms.host.packages import owners
from ashore.mechanisms.stage.supply import Supply, lying
from ashore.nouns.digest import Digest
from ashore.nouns.files import FileSet, Kind, Seen, folders_of, shown
from ashore.nouns.generation import Generation
from ashore.nouns.plan import Conflict, Plan
from ashore.nouns.units import RUNTIME_FOLDER, UnitAction, UnitVerb
from ashore.rules.checks import Checks, plan_checks, programs_of
from ashore.rules.files.decide import View
from ashore.rules.files.folders import listed, two_minds
from ashore.rules.files.plan import FilePlan, combine, plan_files
from ashore.rules.steps import planned_steps, with_steps
from ashore.rules.units.changes import changes_of
from ashore.rules.units.disabled import stay_disabled
from ashore.rules.units.health import not_judged
from ashore.rules.units.restarts import STAYS_DISABLED


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a plan beside the parts."""

    adopt_all: bool = False
    """Files that are there and belong to no bundle are taken over."""
    away: Mapping[str, str] = {}
    """Paths of nobody that go, each with why."""
    actions: tuple[UnitAction, ...] = ()
    """What units do beside what the files ask for."""
    verify: bool = False
    """Contents are read whatever their stats say."""
    displace: bool = False
    """Nobody is there to decide: what stands in the way goes to the store as an edit."""
    exactly: bool = False
    """And what would be merged."""


def make_plan(tools: Tools, current: Generation, parts: Sequence[Part], supply: Supply, beside: Beside) -> Plan:
    """What it takes to bring the host from `current` to what `parts` want."""
    owner = tools.owner or (0, 0)
    desired, shared = combine((wanted for part in parts for wanted in part.wanted), owner)
    libraries = Libraries(tools, current, desired, supply)
    grounds = Grounds(tools=tools, current=current, desired=desired, supply=supply, libraries=libraries)
    leaving = grounds.leaving()
    if beside.displace:
        away = {**beside.away, **in_the_way(tools, current, desired)}
        beside = msgspec.structs.replace(beside, away=away)
    view = _view(tools, current, desired, supply, beside, leaving)
    desired, stay_off = stay_disabled(desired, current.files, view.seen)
    supply.fall_back(lying(tools.host, functools.cache(lambda: _contents_of(view.seen))))
    files = plan_files(desired, current, view, leaving, beside.away)
    of_folders = two_minds((w for part in parts for w in part.wanted), desired, current.files, view.seen, owner)
    changes = changes_of(files.steps)
    triggers = grounds.triggers(changes)
    react = React(
        tools=tools,
        current=current,
        parts=parts,
        desired=desired,
        files=files,
        supply=supply,
        unmasked=frozenset(action.unit for action in beside.actions),
    )
    units = react.units(view.seen)
    checked = _checks(tools, desired, files)
    notes = [note for part in parts for note in part.notes]
    notes += [*(STAYS_DISABLED.format(unit) for unit in stay_off), *dangling(tools, desired, changes)]
    notes += [
        *files.notes,
        *units.notes,
        *checked.notes,
        *triggers.notes,
        *libraries.shadows(changes.created | changes.replaced),
    ]
    plan = Plan(
        steps=files.steps,
        kept=files.kept,
        conflicts=_unique((*shared, *files.conflicts, *of_folders)),
        stops=units.stops,
        actions=_together(units.actions, beside.actions),
        daemon_reload=units.daemon_reload or any(path.startswith(RUNTIME_FOLDER) for path in beside.away),
        triggers=triggers.triggers,
        settings=triggers.settings,
        made=triggers.made,
        started=units.started,
        gave_way=units.gave_way,
        reboot=(*units.reboot, *(triggers.reboot if tools.live else ())),
        notes=tuple(dict.fromkeys(notes)),
        before=current.bundles,
        bundles=tuple(sorted((part.record for part in parts), key=lambda r: r.name)),
        files=files.records,
        originals=files.originals,
        gone=files.gone,
        checks=checked.checks,
    )
    plan = _with_unjudged(tools, plan, current)
    return with_steps(plan, planned_steps(plan, current), live=tools.live)


def _with_unjudged(tools: Tools, plan: Plan, current: Generation) -> Plan:
    """The plan, and what it has to say of checks that will not be made."""
    touched = plan.touched(current)
    units = sorted({h.unit for b in plan.bundles if b.name in touched for h in b.health if h.unit})
    if tools.systemd is None or not units:
        return plan
    notes = not_judged(plan, tools.systemd.states(units), touched)
    return msgspec.structs.replace(plan, notes=tuple(dict.fromkeys((*plan.notes, *notes))))


def _checks(tools: Tools, desired: FileSet, files: FilePlan) -> Checks:
    """What has to accept the new contents. What a rollback brings back was accepted once, but not a merge with it."""
    merged = {step.path for step in files.steps if step.merged}
    asked = {p: w.validate for p, w in desired.items() if w.validate and (not w.restored or p in merged)}
    names = programs_of(asked, files.steps) if tools.live and tools.programs is not None else ()
    found = {name: place for name in names if (place := _program(tools, name))}
    return plan_checks(asked, files.steps, found, live=tools.live)


def _program(tools: Tools, name: str) -> str:
    """Where a program lies. One that is there and cannot be run is not passed over: who asks it is told why."""
    if tools.programs is not None and (place := tools.programs.find(name)):
        return place
    with contextlib.suppress(OSError):
        if "/" in name:
            os.close(tools.host.open(name.strip("/"), os.O_PATH, follow=True))
            return name
    return ""


def refuse_conflicts(plan: Plan) -> None:
    """Nothing is changed while somebody has to decide.

    Raises:
        ConflictError: all conflicts, each with its owner.
    """
    if plan.conflicts:
        raise ConflictError(
            "there are conflicts; nothing was changed",
            issues=[
                Issue(where=shown(c.path), message=f"wanted by {c.bundle}: {c.message}", remedy=c.remedy)
                for c in plan.conflicts
            ],
        )


def records_anything(plan: Plan, current: Generation) -> bool:
    """Whether carrying out `plan` would leave another record than `current`, stats aside."""

    def plain(files: Mapping[str, msgspec.Struct]) -> dict[str, msgspec.Struct]:
        return {path: msgspec.structs.replace(record, stat=None) for path, record in files.items()}

    return plan.bundles != current.bundles or plain(plan.files) != plain(current.files)


def _view(
    tools: Tools, current: Generation, desired: FileSet, supply: Supply, beside: Beside, leaving: frozenset[str]
) -> View:
    paths = desired.keys() | current.files.keys() | leaving | beside.away.keys()
    paths = paths | folders_of(paths)
    seen = observe(tools.host, paths, current.files, read_all=beside.verify)
    owned = _package_owners(tools, current, desired, seen)
    taken = [path for path in owned if beside.adopt_all or desired[path].adopt]
    packaged = edited_packages_files(tools, desired, taken, owned, seen, supply) if taken else {}
    return View(
        seen=seen,
        listings=folders(tools.host, listed(current.files, desired)),
        owners=owned,
        owner=tools.owner or (0, 0),
        adopt_all=beside.adopt_all,
        displace=beside.displace,
        exactly=beside.exactly,
        cleared=frozenset(p for p in beside.away if p in seen and seen[p].entry.kind is Kind.DIR),
        merges=merge_edits(tools, desired, current.files, seen, packaged, supply),
        packaged=packaged,
    )


def _contents_of(seen: Mapping[str, Seen]) -> Mapping[Digest, str]:
    """An edit that stays under another mode or owner lies nowhere but in its place, and no record has it."""
    return {found.entry.digest: path for path, found in seen.items() if found.entry.kind is Kind.FILE}


def _package_owners(tools: Tools, current: Generation, desired: FileSet, seen: Mapping[str, Seen]) -> Mapping[str, str]:
    foreign = [p for p, w in desired.items() if w.entry.kind is not Kind.DIR and p in seen and p not in current.files]
    return owners(tools.host, foreign) if foreign else {}


def _together(planned: Sequence[UnitAction], beside: Sequence[UnitAction]) -> tuple[UnitAction, ...]:
    """Each unit once: what its files ask for comes first; of two reasons to start one, the nearer."""
    known = {action.unit for action in planned}
    starts = {action.unit: action for action in beside if action.verb is UnitVerb.START}
    own = (starts.get(action.unit, action) if action.verb is UnitVerb.START else action for action in planned)
    return (*own, *(action for action in beside if action.unit not in known))


def _unique(conflicts: Sequence[Conflict]) -> tuple[Conflict, ...]:
    return tuple({(c.path, c.bundle, c.owner): c for c in conflicts}.values())
