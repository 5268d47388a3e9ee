# SPDX-License-Identifier: Apache-2.0
"""From what bundles want, what lies on the host and what was recorded, to steps and conflicts.

Pure: values in, a value out. `rules.files.decide` has what becomes of one path; here all of them become one plan.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.files import Entry, FileSet, Kind, Wanted, ancestors, folders_of
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.plan import Action, Conflict, Kept, Step
from ashore.rules.files.conflicts import folder_in_the_way
from ashore.rules.files.decide import Draft, View, plan_wanted, step_for
from ashore.rules.files.filerecords import stays
from ashore.rules.files.folders import is_plain, plan_folders
from ashore.rules.files.hardlinks import regrouped
from ashore.rules.files.unwanted import originals_without_a_place, plan_unwanted
from ashore.rules.units.enablement import enabled_by

_NONE: Mapping[str, str] = {}


class FilePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan that is about files."""

    steps: tuple[Step, ...]
    kept: tuple[Kept, ...]
    conflicts: tuple[Conflict, ...]
    records: Mapping[str, FileRecord]
    originals: Mapping[str, Entry]
    gone: tuple[str, ...]
    notes: tuple[str, ...]


def combine(
    wanted: Iterable[Wanted], owner: tuple[int, int] = (0, 0)
) -> tuple[dict[str, Wanted], tuple[Conflict, ...]]:
    """One file set of what several bundles want; a path that two want is a conflict.

    Folders are shared, and so are equal symlinks that enable a unit: two sites may need one web server. Of a folder's
    mode and owner that bundle decides that says more than that it is there; `owner` is whose it is else.
    """
    together: dict[str, Wanted] = {}
    conflicts: list[Conflict] = []
    for item in sorted(wanted, key=lambda w: (w.path, w.bundle)):
        other = together.get(item.path)
        if other is None:
            together[item.path] = item
        elif _enable_the_same(other, item):
            # Where one of the bundles stays as it is, nothing happens to what it has.
            together[item.path] = _shared(*((item, other) if item.settled and not other.settled else (other, item)))
        elif not (other.entry.kind is Kind.DIR and item.entry.kind is Kind.DIR):
            conflicts.append(_two_owners(item, other, item.path))
        elif is_plain(other.entry, owner) and not is_plain(item.entry, owner):
            together[item.path] = _shared(item, other)
        else:
            together[item.path] = _shared(other, item)
    solid = any(together[above].entry.kind is not Kind.DIR for above in folders_of(together) & together.keys())
    for item in together.values() if solid else ():
        for above in ancestors(item.path):
            other = together.get(above)
            if other is not None and other.entry.kind is not Kind.DIR:
                conflicts.append(_two_owners(item, other, above))
                break
    for item in together.values():
        for link in item.through:  # the host has a symlink where one bundle has a file and another one a folder
            if (other := together.get(link)) is not None and other.entry.kind is not Kind.DIR:
                conflicts.append(_two_owners(item, other, link))
                break
    return together, tuple(conflicts)


def _enable_the_same(one: Wanted, other: Wanted) -> bool:
    both = one.entry.kind is other.entry.kind is Kind.SYMLINK and one.entry.same(other.entry)
    return both and bool(enabled_by(one.path, one.entry.target))


def _shared(holds: Wanted, other: Wanted) -> Wanted:
    """A path of two bundles, as one of them says it; the other one's word holds when that goes."""
    others = {**holds.others, **other.others, other.bundle: other.entry}
    return msgspec.structs.replace(holds, others={b: e for b, e in others.items() if b != holds.bundle})


def plan_files(
    desired: FileSet, current: Generation, view: View, leaving: Iterable[str] = (), away: Mapping[str, str] = _NONE
) -> FilePlan:
    """Plan every path that a bundle wants or that ashore has a record of.

    `leaving` are paths beside those, made by triggers for what is no longer wanted; `away` those of nobody that
    somebody wants gone, each with why.
    """
    draft = Draft()
    for path, note in sorted(away.items()):
        if (there := view.seen.get(path)) is not None and there.entry.kind is not Kind.DIR:
            draft.steps.append(Step(action=Action.REMOVE, path=path, old=there.entry, note=note, edited=True))
    for path in sorted(leaving):
        if (there := view.seen.get(path)) is not None and there.entry.kind is not Kind.DIR:
            note = f"{current.made.get(path, 'a trigger')} made it"
            draft.steps.append(Step(action=Action.REMOVE, path=path, old=there.entry, note=note))
    for path, wanted in desired.items():
        record = current.files.get(path)
        if record is not None and stays(wanted, record, view.seen.get(path)):
            draft.records[path] = record  # most paths of most plans
        elif wanted.entry.kind is not Kind.DIR:
            plan_wanted(path, wanted, record, view, draft)
    plan_unwanted(desired, current, view, draft)
    for path in regrouped(desired, current.files, view.seen, {step.path for step in draft.steps}, draft.records):
        wanted, old = desired[path], view.seen[path].entry
        note = "its hard links change"
        draft.steps.append(step_for(Action.REPLACE, path, wanted, old=old, new=wanted.entry, note=note))
    folders = plan_folders(desired, current.files, view, draft.steps)
    removed = {step.path for step in folders.steps if step.action is Action.RMDIR}
    for path in sorted(desired.keys() & current.files.keys() - removed):
        if (
            desired[path].entry.kind is not Kind.DIR
            and current.files[path].entry.kind is Kind.DIR
            and path in view.seen
            and view.seen[path].entry.kind is Kind.DIR
        ):
            draft.conflicts.append(folder_in_the_way(path, desired[path], "nobody"))
    draft.conflicts += [c for c in folders.conflicts if c.path not in {d.path for d in draft.conflicts}]
    steps = _ordered([*draft.steps, *folders.steps], desired)
    files = draft.records | dict(folders.records)
    return FilePlan(
        steps=steps,
        kept=tuple(draft.kept),
        conflicts=tuple(draft.conflicts),
        records=files,
        originals=originals_without_a_place(current.files, files, view.seen, steps),
        gone=tuple(sorted(draft.gone)),
        notes=(*draft.notes, *folders.notes),
    )


def _ordered(steps: list[Step], desired: FileSet) -> tuple[Step, ...]:
    """What is in the way goes first, what is no longer wanted last; folders around their files."""
    away = any(step.action in (Action.REMOVE, Action.RMDIR) for step in steps)
    files = {step.path for step in steps if step.action is Action.CREATE} if away else set[str]()
    above = folders_of(desired.keys() | files) if away else set[str]()

    def blocks(path: str) -> bool:
        return (
            path in above
            or path in desired
            or path in files
            or any(a in files or (a in desired and desired[a].entry.kind is not Kind.DIR) for a in ancestors(path))
        )

    def rank(step: Step) -> tuple[int, int, str]:
        depth = step.path.count("/")
        match step.action:
            case Action.REMOVE:
                return (0 if blocks(step.path) else 5, 0, step.path)
            case Action.RMDIR:
                return (1 if blocks(step.path) else 6, -depth, step.path)
            case Action.MKDIR:
                return (2, depth, step.path)
            case Action.CREATE | Action.REPLACE:
                return (3, 0, step.path)
            case Action.CHANGE_DIR:
                return (4, depth, step.path)

    return tuple(sorted(steps, key=rank))


def _two_owners(item: Wanted, other: Wanted, path: str) -> Conflict:
    return Conflict(
        path=path,
        bundle=item.bundle,
        owner=f"bundle {other.bundle}",
        message=f"bundle {other.bundle} has it" if path == item.path else f"bundle {other.bundle} has a file there",
        remedy="take the path out of one of the bundles, or have only one of them on this host",
    )
