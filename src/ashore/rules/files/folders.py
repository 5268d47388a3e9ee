# SPDX-License-Identifier: Apache-2.0
"""Folders: made when something needs them, shared, and gone when they are empty. Pure.

A folder that was there before ashore is never changed, recorded or removed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ashore.nouns.files import Decided, Entry, FileSet, Kind, Seen, Wanted, ancestors, folders_of, format_mode, parent
from ashore.nouns.generation import FileRecord
from ashore.nouns.plan import Action, Conflict, Step
from ashore.rules.files.conflicts import IN_THE_WAY
from ashore.rules.files.decide import View

_MODE = 0o755


class FolderPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan that is about folders."""

    steps: tuple[Step, ...]
    conflicts: tuple[Conflict, ...]
    records: Mapping[str, FileRecord]
    notes: tuple[str, ...]


def plan_folders(
    desired: FileSet,
    records: Mapping[str, FileRecord],
    view: View,
    steps: Sequence[Step],
) -> FolderPlan:
    """Plan the folders of `desired`, and those of `records` that nothing needs after `steps`."""
    seen, owner = view.seen, view.owner
    made: list[Step] = []
    conflicts: list[Conflict] = []
    kept: dict[str, FileRecord] = {}
    going = {step.path for step in steps if step.action is Action.REMOVE}
    needed = _needed(desired, owner)
    for path in sorted(needed):
        wanted, declared = needed[path]
        record = records.get(path)
        status = seen.get(path)
        ours = record if record is not None and record.entry.kind is Kind.DIR else None
        if status is None or path in going:
            made.append(Step(action=Action.MKDIR, path=path, bundle=wanted.bundle, new=_as_left(wanted)))
            kept[path] = _record(wanted, None, record)
        elif _comes_back(wanted, status.entry) or (view.displace and status.entry.kind is not Kind.DIR):
            made.append(_making_way(path, wanted, status.entry))
            made.append(Step(action=Action.MKDIR, path=path, bundle=wanted.bundle, new=wanted.entry))
            kept[path] = msgspec.structs.replace(_record(wanted, None, None), original=status.entry)
        elif status.entry.kind is not Kind.DIR:
            conflicts.append(_in_the_way(path, wanted.bundle))
        elif ours is not None:
            step = _change(path, wanted, ours, status) if declared else None
            made += [step] if step else []
            kept[path] = _record(wanted if declared and step else _as_is(wanted, ours), status, record)
    returning = [step for step in steps if step.action is Action.CREATE and step.path not in desired]
    gone, notes = _leftovers(records, needed.keys(), desired.keys(), view, going, returning)
    for path, step in _folders_above([*returning, *(s for s in gone if s.action is Action.CREATE)]):
        status = seen.get(path)
        if status is None and path not in needed:
            entry = Entry(kind=Kind.DIR, mode=_MODE, uid=owner[0], gid=owner[1])
            made.append(Step(action=Action.MKDIR, path=path, bundle=step.bundle, new=entry))
        elif status is None or status.entry.kind is Kind.DIR or path in needed:
            continue
        elif view.displace:
            entry = Entry(kind=Kind.DIR, mode=_MODE, uid=owner[0], gid=owner[1])
            old = status.entry
            made.append(Step(action=Action.REMOVE, path=path, old=old, edited=True, note=IN_THE_WAY))
            made.append(Step(action=Action.MKDIR, path=path, bundle=step.bundle, new=entry))
        else:
            conflicts.append(_in_the_way(path, step.bundle))
    return FolderPlan(steps=(*made, *gone), conflicts=tuple(conflicts), records=kept, notes=notes)


def _comes_back(wanted: Wanted, lies: Entry) -> bool:
    """A rollback to a version with a folder where there was a file before: that came back meanwhile."""
    return wanted.adopt and wanted.restored and lies.kind in (Kind.FILE, Kind.SYMLINK)


def _making_way(path: str, wanted: Wanted, lies: Entry) -> Step:
    edited = not _comes_back(wanted, lies)
    note = IN_THE_WAY if edited else ""
    return Step(action=Action.REMOVE, path=path, bundle=wanted.bundle, old=lies, edited=edited, note=note)


def _needed(desired: FileSet, owner: tuple[int, int]) -> dict[str, tuple[Wanted, bool]]:
    """Every folder that must be there, and whether a bundle declares it (its mode then matters)."""
    needed: dict[str, tuple[Wanted, bool]] = {}
    for path, wanted in desired.items():
        if wanted.entry.kind is Kind.DIR:
            needed[path] = (wanted, True)
        above = parent(path)
        while above and above not in needed:  # what is above one that is known is known as well
            entry = Entry(kind=Kind.DIR, mode=_MODE, uid=owner[0], gid=owner[1])
            needed[above] = (Wanted(path=above, entry=entry, bundle=wanted.bundle), False)
            above = parent(above)
    # A file that is an ancestor is reported by `combine`; here it would only be a second message.
    return {p: n for p, n in needed.items() if p not in desired or desired[p].entry.kind is Kind.DIR}


def is_plain(entry: Entry, owner: tuple[int, int]) -> bool:
    """Whether a folder is as each is of which nobody says more than that it is there."""
    return entry.mode == _MODE and (entry.uid, entry.gid) == owner and not entry.xattrs


def two_minds(
    wanted: Iterable[Wanted],
    desired: FileSet,
    records: Mapping[str, FileRecord],
    seen: Mapping[str, Seen],
    owner: tuple[int, int],
) -> tuple[Conflict, ...]:
    """The folders of ashore's of which two bundles say what they are, and not the same."""
    return tuple(
        _two_modes(item, desired[item.path])
        for item in wanted
        if item.entry.kind is desired[item.path].entry.kind is Kind.DIR
        and not is_plain(item.entry, owner)
        and not item.entry.same(desired[item.path].entry)
        and (item.path in records or item.path not in seen)
    )


def _two_modes(item: Wanted, other: Wanted) -> Conflict:
    mine, others = format_mode(item.entry.mode), format_mode(other.entry.mode)
    unlike = f"with mode {others}, not {mine}" if mine != others else "with another owner or other attributes"
    return Conflict(
        path=item.path,
        bundle=item.bundle,
        owner=f"bundle {other.bundle}",
        message=f"bundle {other.bundle} has the folder {unlike}",
        remedy="have only one of the bundles say what it shall be, or both the same",
    )


def _change(path: str, wanted: Wanted, record: FileRecord, status: Seen) -> Step | None:
    """A declared folder of ours whose mode or owner changed in the bundle, not on the host."""
    taken = wanted.decided is Decided.TAKE  # somebody changed it on the host, and somebody wants that undone
    if status.entry.same(wanted.entry) or not (taken or status.entry.same(record.entry)):
        return None
    return Step(action=Action.CHANGE_DIR, path=path, bundle=wanted.bundle, old=status.entry, new=wanted.entry)


def _leftovers(
    records: Mapping[str, FileRecord],
    needed: Collection[str],
    desired: Collection[str],
    view: View,
    going: set[str],
    returning: Sequence[Step],
) -> tuple[list[Step], tuple[str, ...]]:
    """Folders of ours that nothing needs go, and cleared ones; a file that was there before one of them comes back."""
    steps: list[Step] = []
    notes: list[str] = []
    leaving = set(going)
    coming = {step.path for step in returning}
    ours = {p: r for p, r in records.items() if r.entry.kind is Kind.DIR and p not in needed}
    for path in sorted(ours.keys() | view.cleared, key=lambda p: (-p.count("/"), p)):
        status, record = view.seen.get(path), ours.get(path)
        if record is None:
            assert status is not None
            steps.append(Step(action=Action.RMDIR, path=path, old=status.entry, edited=True, note=IN_THE_WAY))
            leaving.add(path)
            continue
        original = record.given_back if path not in desired else None
        if status is not None and status.entry.kind is not Kind.DIR:
            continue
        if status is not None:
            names = {name for name in view.listings.get(path, frozenset()) if f"{path}/{name}" not in leaving}
            names |= {p.removeprefix(f"{path}/").partition("/")[0] for p in coming if p.startswith(f"{path}/")}
            if names:
                lost = "; what was there before cannot come back, and stays in the store" if original else ""
                notes.append(f"/{path} stays: it holds {', '.join(sorted(names)[:3])}, not of any bundle{lost}")
                continue
            steps.append(
                Step(
                    action=Action.RMDIR,
                    path=path,
                    bundle=record.bundle,
                    old=status.entry,
                    edited=not status.entry.same(record.entry),
                )
            )
            leaving.add(path)
        if original is not None:
            coming.add(path)
            note = "what was there before"
            steps.append(Step(action=Action.CREATE, path=path, bundle=record.bundle, new=original, note=note))
    return steps, tuple(notes)


def _folders_above(steps: Sequence[Step]) -> list[tuple[str, Step]]:
    """Each folder once, with a step that needs it: what comes back may have lost the folder that it lay in."""
    return sorted({above: step for step in steps for above in ancestors(step.path)}.items())


def _as_left(wanted: Wanted) -> Entry:
    """What a folder is made as: a rollback's as the administrator had it, with the mode that it had got by hand."""
    return wanted.edit if wanted.edit is not None and wanted.edit.kind is Kind.DIR else wanted.entry


def _as_is(wanted: Wanted, record: FileRecord) -> Wanted:
    return msgspec.structs.replace(wanted, entry=record.entry)


def _record(wanted: Wanted, status: Seen | None, before: FileRecord | None) -> FileRecord:
    """A stat is only of what is recorded: one of a folder that somebody changed would vouch for what is not so."""
    return FileRecord(
        bundle=wanted.bundle,
        entry=wanted.entry,
        stat=status.stat if status is not None and status.entry.same(wanted.entry) else None,
        original=before.original if before is not None else None,
        others=wanted.others,
        through=wanted.through,
    )


def _in_the_way(path: str, bundle: str) -> Conflict:
    return Conflict(
        path=path,
        bundle=bundle,
        owner="nobody",
        message="a file lies where the bundle needs a folder",
        remedy="move the file away",
    )


def listed(records: Mapping[str, FileRecord], desired: FileSet) -> frozenset[str]:
    """The folders whose names planning must know: ours that nothing in `desired` needs."""
    ours = {p for p, r in records.items() if r.entry.kind is Kind.DIR}
    undeclared = {p for p in ours if (w := desired.get(p)) is None or w.entry.kind is not Kind.DIR}
    return frozenset(undeclared - folders_of(desired) if undeclared else ())
