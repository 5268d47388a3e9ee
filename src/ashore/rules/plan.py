# SPDX-License-Identifier: Apache-2.0
"""From what bundles want, what lies on the host and what was recorded, to steps and conflicts.

Pure: values in, a value out. The comparison is three-way: what ashore last put there (the record), what
lies there (the host), what shall lie there (the file set). Times of files decide nothing.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.files import Entry, FileSet, Kind, OnEdit, Seen, Wanted, ancestors
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.plan import Action, Conflict, Kept, Step
from ashore.rules.folders import plan_folders
from ashore.rules.hardlinks import regrouped


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What planning may know of the host.

    `seen` and `listings` are by physical path (`listings`: names in folders that ashore made). `owners`
    names the distribution package of a path. `owner` is the user and group of folders that nobody declared.
    """

    seen: Mapping[str, Seen]
    listings: Mapping[str, frozenset[str]] = {}
    owners: Mapping[str, str] = {}
    owner: tuple[int, int] = (0, 0)
    adopt_all: bool = False


class FilePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan that is about files."""

    steps: tuple[Step, ...]
    kept: tuple[Kept, ...]
    conflicts: tuple[Conflict, ...]
    records: Mapping[str, FileRecord]
    notes: tuple[str, ...]


class _Draft:
    """What `plan_files` collects."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.kept: list[Kept] = []
        self.conflicts: list[Conflict] = []
        self.records: dict[str, FileRecord] = {}
        self.notes: list[str] = []


def combine(wanted: Iterable[Wanted]) -> tuple[dict[str, Wanted], tuple[Conflict, ...]]:
    """One file set of what several bundles want; a path that two want is a conflict, folders are shared."""
    together: dict[str, Wanted] = {}
    conflicts: list[Conflict] = []
    for item in sorted(wanted, key=lambda w: (w.path, w.bundle)):
        other = together.get(item.path)
        if other is None or (other.entry.kind is Kind.DIR and item.entry.kind is Kind.DIR):
            together.setdefault(item.path, item)
        else:
            conflicts.append(_two_owners(item, other, item.path))
    for item in together.values():
        for above in ancestors(item.path):
            other = together.get(above)
            if other is not None and other.entry.kind is not Kind.DIR:
                conflicts.append(_two_owners(item, other, above))
                break
    return together, tuple(conflicts)


def plan_files(desired: FileSet, current: Generation, view: View) -> FilePlan:
    """Plan every path that a bundle wants or that ashore has a record of."""
    draft = _Draft()
    for path, wanted in desired.items():
        if wanted.entry.kind is not Kind.DIR:
            _plan_wanted(path, wanted, current.files.get(path), view, draft)
    for path, record in current.files.items():
        unwanted = path not in desired or desired[path].entry.kind is Kind.DIR
        if unwanted and record.entry.kind is not Kind.DIR:
            _plan_unwanted(path, record, view.seen.get(path), draft)
    for path in regrouped(desired, current.files, view.seen, {step.path for step in draft.steps}):
        wanted, old = desired[path], view.seen[path].entry
        draft.steps.append(_step(Action.REPLACE, path, wanted, old=old, new=wanted.entry, note="its hard links change"))
    folders = plan_folders(desired, current.files, view.seen, view.listings, draft.steps, view.owner)
    removed = {step.path for step in folders.steps if step.action is Action.RMDIR}
    for path in sorted(desired.keys() & current.files.keys() - removed):
        if (
            desired[path].entry.kind is not Kind.DIR
            and current.files[path].entry.kind is Kind.DIR
            and path in view.seen
        ):
            draft.conflicts.append(_folder_in_the_way(path, desired[path], "nobody"))
    draft.conflicts += [c for c in folders.conflicts if c.path not in {d.path for d in draft.conflicts}]
    return FilePlan(
        steps=_ordered([*draft.steps, *folders.steps], desired),
        kept=tuple(draft.kept),
        conflicts=tuple(draft.conflicts),
        records=draft.records | dict(folders.records),
        notes=(*draft.notes, *folders.notes),
    )


def _plan_wanted(path: str, wanted: Wanted, record: FileRecord | None, view: View, draft: _Draft) -> None:
    seen = view.seen.get(path)
    if record is None or record.entry.kind is Kind.DIR:
        _plan_new(path, wanted, seen, view, draft, ours=record is not None)
    elif seen is None:
        _plan_deleted(path, wanted, record, draft)
    elif seen.entry.kind is Kind.DIR:
        draft.conflicts.append(_folder_in_the_way(path, wanted, "nobody"))
    else:
        _plan_ours(path, wanted, record, seen, draft)


def _plan_new(path: str, wanted: Wanted, seen: Seen | None, view: View, draft: _Draft, *, ours: bool) -> None:
    """A path that ashore has no file at. `ours`: a folder of ashore's lies there and will go, if it can."""
    if seen is None or (ours and seen.entry.kind is Kind.DIR):
        draft.steps.append(_step(Action.CREATE, path, wanted, new=wanted.entry))
        draft.records[path] = _record(wanted)
        return
    owner = view.owners.get(path, "")
    if seen.entry.kind is Kind.DIR:
        draft.conflicts.append(_folder_in_the_way(path, wanted, owner or "nobody"))
        return
    if not (wanted.adopt or view.adopt_all):
        draft.conflicts.append(
            Conflict(
                path=path,
                bundle=wanted.bundle,
                owner=f"package {owner}" if owner else "nobody",
                message=f"it exists and belongs to {'package ' + owner if owner else 'no bundle and no package'}",
                remedy="move it away, or let the bundle take it over: adopt = true under [[files]], or --adopt",
            )
        )
        return
    same = seen.entry.same(wanted.entry)
    if not same:
        draft.steps.append(_step(Action.REPLACE, path, wanted, old=seen.entry, new=wanted.entry, note="adopted"))
    record = _record(wanted, original=seen.entry)
    draft.records[path] = msgspec.structs.replace(record, stat=seen.stat) if same else record


def _plan_deleted(path: str, wanted: Wanted, record: FileRecord, draft: _Draft) -> None:
    """The administrator removed it."""
    changed = not wanted.entry.same(record.placed)
    if wanted.on_edit is OnEdit.REPLACE and not wanted.settled:
        draft.steps.append(_step(Action.CREATE, path, wanted, new=wanted.entry, note="it had been deleted"))
        draft.records[path] = _record(wanted, original=record.original)
    elif wanted.on_edit is OnEdit.ABORT and changed and not wanted.settled:
        draft.conflicts.append(_edited(path, wanted, "deleted"))
    else:
        draft.kept.append(Kept(path=path, bundle=wanted.bundle, verdict="deleted", pending=changed))
        draft.records[path] = _record(
            wanted, original=record.original, base=record.placed if changed else None, deleted=True
        )


def _plan_ours(path: str, wanted: Wanted, record: FileRecord, seen: Seen, draft: _Draft) -> None:
    if seen.entry.same(wanted.entry):
        draft.records[path] = _record(wanted, original=record.original, seen=seen)
    elif seen.entry.same(record.placed):
        draft.steps.append(_step(Action.REPLACE, path, wanted, old=seen.entry, new=wanted.entry))
        draft.records[path] = _record(wanted, original=record.original)
    elif seen.entry.same_content(record.placed) and not wanted.entry.same_content(record.placed):
        # Somebody changed only the mode or owner: that must not freeze the content.
        new = _with_attributes_of(wanted.entry, seen.entry)
        draft.steps.append(
            _step(Action.REPLACE, path, wanted, old=seen.entry, new=new, note="its own mode and owner stay")
        )
        draft.records[path] = _record(wanted, original=record.original, found=new)
    else:
        _plan_edited(path, wanted, record, seen, draft)


def _plan_edited(path: str, wanted: Wanted, record: FileRecord, seen: Seen, draft: _Draft) -> None:
    changed = not wanted.entry.same(record.placed)
    if wanted.on_edit is OnEdit.REPLACE and not wanted.settled:
        note = "an edit is replaced; it stays in the store"
        draft.steps.append(
            _step(Action.REPLACE, path, wanted, old=seen.entry, new=wanted.entry, edited=True, note=note)
        )
        draft.records[path] = _record(wanted, original=record.original)
    elif wanted.on_edit is OnEdit.ABORT and changed and not wanted.settled:
        draft.conflicts.append(_edited(path, wanted, "edited"))
    else:
        draft.kept.append(Kept(path=path, bundle=wanted.bundle, verdict="edited", pending=changed))
        base = record.placed if changed else None
        draft.records[path] = _record(wanted, original=record.original, base=base, found=seen.entry, seen=seen)


def _plan_unwanted(path: str, record: FileRecord, seen: Seen | None, draft: _Draft) -> None:
    """No bundle wants it any more: give back what was there, or nothing."""
    if seen is not None and seen.entry.kind is Kind.DIR:
        draft.notes.append(f"{path} is a folder now; it is left alone")
        return
    if record.original is None:
        if seen is not None:
            edited = not seen.entry.same(record.placed)
            draft.steps.append(_unwanted(Action.REMOVE, path, record, seen.entry, None, edited))
    elif seen is None:
        draft.steps.append(_unwanted(Action.CREATE, path, record, None, record.original, False))
    elif not seen.entry.same(record.original):
        edited = not seen.entry.same(record.placed)
        draft.steps.append(_unwanted(Action.REPLACE, path, record, seen.entry, record.original, edited))


def _ordered(steps: list[Step], desired: FileSet) -> tuple[Step, ...]:
    """What is in the way goes first, what is no longer wanted last; folders around their files."""
    above = {a for path in desired for a in ancestors(path)}

    def blocks(path: str) -> bool:
        return (
            path in above
            or path in desired
            or any(a in desired and desired[a].entry.kind is not Kind.DIR for a in ancestors(path))
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


def _step(
    action: Action,
    path: str,
    wanted: Wanted,
    *,
    old: Entry | None = None,
    new: Entry | None = None,
    edited: bool = False,
    note: str = "",
) -> Step:
    return Step(
        action=action, path=path, bundle=wanted.bundle, old=old, new=new, secret=wanted.secret, edited=edited, note=note
    )


def _unwanted(
    action: Action, path: str, record: FileRecord, old: Entry | None, new: Entry | None, edited: bool
) -> Step:
    note = "what was there before" if new else ("an edit; it stays in the store" if edited else "")
    return Step(
        action=action, path=path, bundle=record.bundle, old=old, new=new, secret=record.secret, edited=edited, note=note
    )


def _record(
    wanted: Wanted,
    *,
    original: Entry | None = None,
    base: Entry | None = None,
    found: Entry | None = None,
    seen: Seen | None = None,
    deleted: bool = False,
) -> FileRecord:
    return FileRecord(
        bundle=wanted.bundle,
        entry=wanted.entry,
        base=base,
        found=found,
        deleted=deleted,
        stat=seen.stat if seen else None,
        original=original,
        secret=wanted.secret,
        on_edit=wanted.on_edit,
        reload=wanted.reload,
        restart=wanted.restart,
    )


def _with_attributes_of(entry: Entry, other: Entry) -> Entry:
    return msgspec.structs.replace(entry, mode=other.mode, uid=other.uid, gid=other.gid, xattrs=other.xattrs)


def _two_owners(item: Wanted, other: Wanted, path: str) -> Conflict:
    return Conflict(
        path=path,
        bundle=item.bundle,
        owner=f"bundle {other.bundle}",
        message=f"bundle {other.bundle} has it" if path == item.path else f"bundle {other.bundle} has a file there",
        remedy="take the path out of one of the bundles",
    )


def _folder_in_the_way(path: str, wanted: Wanted, owner: str) -> Conflict:
    return Conflict(
        path=path,
        bundle=wanted.bundle,
        owner=owner,
        message="a folder lies where the bundle has a file",
        remedy="move the folder away; ashore never replaces one",
    )


def _edited(path: str, wanted: Wanted, verdict: str) -> Conflict:
    return Conflict(
        path=path,
        bundle=wanted.bundle,
        owner="the administrator",
        message=f"it was {verdict} on this host, the new version changes it, and on_edit is abort",
        remedy="put it back (ashore diff shows what changed), or choose another on_edit",
    )
