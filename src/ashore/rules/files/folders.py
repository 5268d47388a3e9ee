# SPDX-License-Identifier: Apache-2.0
"""Folders: made when something needs them, shared, and gone when they are empty. Pure.

A folder that was there before ashore is never changed, recorded or removed.
"""

from collections.abc import Mapping, Sequence

import msgspec

from ashore.nouns.files import Decided, Entry, FileSet, Kind, Seen, Wanted, folders_of, parent
from ashore.nouns.generation import FileRecord
from ashore.nouns.plan import Action, Conflict, Step

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
    seen: Mapping[str, Seen],
    listings: Mapping[str, frozenset[str]],
    steps: Sequence[Step],
    owner: tuple[int, int],
) -> FolderPlan:
    """Plan the folders of `desired`, and those of `records` that nothing needs after `steps`."""
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
            made.append(Step(action=Action.MKDIR, path=path, bundle=wanted.bundle, new=wanted.entry))
            kept[path] = _record(wanted, None)
        elif status.entry.kind is not Kind.DIR:
            conflicts.append(_in_the_way(path, wanted))
        elif ours is not None:
            step = _change(path, wanted, ours, status) if declared else None
            made += [step] if step else []
            kept[path] = _record(wanted if declared and step else _as_is(wanted, ours), status)
    gone, notes = _leftovers(records, needed, seen, listings, going)
    return FolderPlan(steps=(*made, *gone), conflicts=tuple(conflicts), records=kept, notes=notes)


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


def _change(path: str, wanted: Wanted, record: FileRecord, status: Seen) -> Step | None:
    """A declared folder of ours whose mode or owner changed in the bundle, not on the host."""
    taken = wanted.decided is Decided.TAKE  # somebody changed it on the host, and somebody wants that undone
    if status.entry.same(wanted.entry) or not (taken or status.entry.same(record.entry)):
        return None
    return Step(action=Action.CHANGE_DIR, path=path, bundle=wanted.bundle, old=status.entry, new=wanted.entry)


def _leftovers(
    records: Mapping[str, FileRecord],
    needed: Mapping[str, object],
    seen: Mapping[str, Seen],
    listings: Mapping[str, frozenset[str]],
    going: set[str],
) -> tuple[list[Step], tuple[str, ...]]:
    steps: list[Step] = []
    notes: list[str] = []
    leaving = set(going)
    ours = (p for p, r in records.items() if r.entry.kind is Kind.DIR and p not in needed)
    for path in sorted(ours, key=lambda p: (-p.count("/"), p)):
        status = seen.get(path)
        if status is None or status.entry.kind is not Kind.DIR:
            continue
        staying = {name for name in listings.get(path, frozenset()) if f"{path}/{name}" not in leaving}
        if staying:
            notes.append(f"/{path} stays: it holds {', '.join(sorted(staying)[:3])}, not of any bundle")
        else:
            steps.append(Step(action=Action.RMDIR, path=path, bundle=records[path].bundle, old=status.entry))
            leaving.add(path)
    return steps, tuple(notes)


def _as_is(wanted: Wanted, record: FileRecord) -> Wanted:
    return msgspec.structs.replace(wanted, entry=record.entry)


def _record(wanted: Wanted, status: Seen | None) -> FileRecord:
    """A stat is only of what is recorded: one of a folder that somebody changed would vouch for what is not so."""
    as_recorded = status is not None and status.entry.same(wanted.entry)
    return FileRecord(bundle=wanted.bundle, entry=wanted.entry, stat=status.stat if status and as_recorded else None)


def _in_the_way(path: str, wanted: Wanted) -> Conflict:
    return Conflict(
        path=path,
        bundle=wanted.bundle,
        owner="nobody",
        message="a file lies where the bundle needs a folder",
        remedy="move the file away",
    )


def listed(records: Mapping[str, FileRecord], desired: FileSet) -> frozenset[str]:
    """The folders whose names planning must know: ours that nothing in `desired` needs."""
    ours = {p for p, r in records.items() if r.entry.kind is Kind.DIR}
    undeclared = {p for p in ours if (w := desired.get(p)) is None or w.entry.kind is not Kind.DIR}
    return frozenset(undeclared - folders_of(desired) if undeclared else ())
