# SPDX-License-Identifier: Apache-2.0
"""Observe the host, ask the rules, and put their answers together into one plan."""

from collections.abc import Mapping, Sequence

import msgspec

from ashore.acts.desire import Part
from ashore.acts.tools import Tools
from ashore.errors import ConflictError, Issue
from ashore.mechanisms.host.observe import folders, observe
from ashore.mechanisms.host.packages import owners
from ashore.mechanisms.supply import Opener, Supply, lying
from ashore.nouns.digest import Digest
from ashore.nouns.files import FileSet, Kind, Seen, Wanted, ancestors, shown
from ashore.nouns.generation import Generation
from ashore.nouns.plan import Conflict, Plan
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.bundle import is_unit_file
from ashore.rules.enablement import unit_of
from ashore.rules.folders import listed
from ashore.rules.plan import FilePlan, View, combine, plan_files
from ashore.rules.restarts import Reaction, UnitPlan, UnitSet, changes_of, concerned, plan_units


def make_plan(
    tools: Tools, current: Generation, parts: Sequence[Part], supply: Supply, *, adopt_all: bool = False
) -> Plan:
    """What it takes to bring the host from `current` to what `parts` want."""
    desired, shared = combine(wanted for part in parts for wanted in part.wanted)
    view = _view(tools, current, desired, adopt_all)
    files = plan_files(desired, current, view)
    units = _plan_units(tools, current, parts, desired, files, supply)
    if tools.booting and files.steps:
        units = _with_waiting(tools, parts, units, _disabled(desired, files))
    return Plan(
        steps=files.steps,
        kept=files.kept,
        conflicts=_unique((*shared, *files.conflicts)),
        stops=units.stops,
        actions=units.actions,
        daemon_reload=units.daemon_reload,
        notes=tuple(dict.fromkeys((*(n for part in parts for n in part.notes), *files.notes, *units.notes))),
        bundles=tuple(sorted((part.record for part in parts), key=lambda r: r.name)),
        files=files.records,
        validators={path: wanted.validate for path, wanted in desired.items() if wanted.validate},
    )


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


def on_host(tools: Tools, current: Generation) -> list[Opener]:
    """The openers for what this host has without a network: the content store, and what lies in place."""
    paths: dict[Digest, str] = {}
    for path, record in current.files.items():
        if record.lay is not None and record.lay.kind is Kind.FILE:
            paths.setdefault(record.lay.digest, path)
    return [tools.content.open, lying(tools.host, paths)]


def _view(tools: Tools, current: Generation, desired: FileSet, adopt_all: bool) -> View:
    paths = desired.keys() | current.files.keys()
    paths = paths | {above for path in paths for above in ancestors(path)}
    seen = observe(tools.host, paths, current.files)
    return View(
        seen=seen,
        listings=folders(tools.host, listed(current.files, desired)),
        owners=_package_owners(tools, current, desired, seen),
        owner=tools.owner or (0, 0),
        adopt_all=adopt_all,
    )


def _package_owners(tools: Tools, current: Generation, desired: FileSet, seen: Mapping[str, Seen]) -> Mapping[str, str]:
    foreign = [p for p, w in desired.items() if w.entry.kind is not Kind.DIR and p in seen and p not in current.files]
    return owners(tools.host, foreign) if foreign else {}


def _plan_units(
    tools: Tools, current: Generation, parts: Sequence[Part], desired: FileSet, files: FilePlan, supply: Supply
) -> UnitPlan:
    if tools.systemd is None:
        return UnitPlan()
    changes = changes_of(files.steps)
    old = UnitSet(
        texts={path: "" for path in current.files if unit_of(path)},
        wanted=tuple(unit for bundle in current.bundles for unit in bundle.enabled),
    )
    texts = {path: text for part in parts for path, text in part.texts.items()}
    texts |= _recorded_texts(tools, desired, texts, supply)
    new = UnitSet(texts=texts, wanted=tuple(unit for part in parts for unit in part.record.enabled))
    reactions = {p: Reaction(reload=r.reload, restart=r.restart) for p, r in current.files.items() if p not in desired}
    reactions |= {path: Reaction(reload=w.reload, restart=w.restart) for path, w in desired.items()}
    reactions = {path: r for path, r in reactions.items() if path in changes.all and (r.reload or r.restart)}
    units = concerned(changes, old=old, new=new, reactions=reactions)
    states = tools.systemd.states(units) if units else {}
    return plan_units(changes, old=old, new=new, states=states, reactions=reactions, disabled=_disabled(desired, files))


def _with_waiting(tools: Tools, parts: Sequence[Part], planned: UnitPlan, disabled: frozenset[str]) -> UnitPlan:
    """At boot an enabled unit that does not run is one that waits for us: it is judged as if we had started it."""
    assert tools.systemd is not None
    known = {action.unit for action in (*planned.actions, *planned.stops)}
    enabled = dict.fromkeys(unit for part in parts for unit in part.record.enabled)
    waiting = [unit for unit in enabled if unit not in known and unit not in disabled]
    states = tools.systemd.states(waiting) if waiting else {}
    starts = tuple(
        UnitAction(verb=UnitVerb.START, unit=unit, reason="the boot starts it")
        for unit in waiting
        if states[unit].load == "loaded" and not states[unit].running
    )
    return msgspec.structs.replace(planned, actions=(*planned.actions, *starts))


def _recorded_texts(tools: Tools, desired: FileSet, known: Mapping[str, str], supply: Supply) -> dict[str, str]:
    texts = {}
    for path, wanted in desired.items():
        if path not in known and wanted.entry.kind is Kind.FILE and is_unit_file(path):
            data = supply.read(wanted.entry.digest, tools.limits.template)
            texts[path] = (data or b"").decode(errors="replace")
    return texts


def _disabled(desired: Mapping[str, Wanted], files: FilePlan) -> frozenset[str]:
    """Units whose enablement somebody took away on this host."""
    taken = [kept.path for kept in files.kept if kept.verdict == "deleted"]
    return frozenset(path.rpartition("/")[2] for path in taken if desired[path].entry.kind is Kind.SYMLINK)


def _unique(conflicts: Sequence[Conflict]) -> tuple[Conflict, ...]:
    return tuple({(c.path, c.bundle, c.owner): c for c in conflicts}.values())
