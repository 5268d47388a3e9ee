# SPDX-License-Identifier: Apache-2.0
"""What becomes of one path, by what was recorded, what lies there and what is wanted. Pure.

The comparison is three-way: the version that ashore put there (the record), the host's content, the new version.
Times of files decide nothing.
"""

from collections.abc import Mapping

import msgspec

from ashore.nouns.files import Decided, Entry, Kind, OnEdit, Seen, Wanted, ancestors
from ashore.nouns.generation import FileRecord
from ashore.nouns.plan import Action, Conflict, Kept, Step
from ashore.rules.files.conflicts import IN_THE_WAY, edited_meanwhile, folder_in_the_way, not_ours
from ashore.rules.files.filerecords import laid_record, record_of
from ashore.rules.files.threeway import Answers, Refusal, aim, base_of, dressed, three_way


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
    displace: bool = False
    """What stands in the way goes to the store as an edit: nobody is there to decide."""
    exactly: bool = False
    """And what edits and versions would be merged to: a validator of the host refused that."""
    cleared: frozenset[str] = frozenset()
    """Folders in the way that are emptied, and go, with all that is in them."""
    merges: Answers = {}
    packaged: Mapping[str, Entry | None] = {}
    """Files of packages that were edited and may be taken over: what the package placed, None where that is gone."""


class Draft:
    """The part of a plan that is about files, while it is made."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.kept: list[Kept] = []
        self.conflicts: list[Conflict] = []
        self.records: dict[str, FileRecord] = {}
        self.gone: list[str] = []
        self.notes: list[str] = []


def plan_wanted(path: str, wanted: Wanted, record: FileRecord | None, view: View, draft: Draft) -> None:
    """A path that a bundle wants as a file or symlink."""
    seen = view.seen.get(path) if path not in view.cleared else None
    if record is None or record.entry.kind is Kind.DIR:
        _plan_new(path, wanted, seen, view, draft, folder=record)
    elif seen is None:
        _plan_deleted(path, wanted, record, view, draft)
    elif seen.entry.kind is Kind.DIR:
        draft.conflicts.append(folder_in_the_way(path, wanted, "nobody"))
    else:
        _plan_ours(path, wanted, record, seen, view, draft)


def _plan_new(
    path: str, wanted: Wanted, seen: Seen | None, view: View, draft: Draft, *, folder: FileRecord | None
) -> None:
    """A path that ashore has no file at. `folder`: the record of one of ashore's, which will go, if it can."""
    if wanted.absent and (seen is None or view.displace or (folder is not None and seen.entry.kind is Kind.DIR)):
        _stay_deleted(path, wanted, folder, draft, base=wanted.edit_of)
        return
    if seen is None or (folder is not None and seen.entry.kind is Kind.DIR):
        draft.steps.append(step_for(Action.CREATE, path, wanted, new=aim(wanted)))
        draft.records[path] = laid_record(wanted, folder)
        return
    owner = view.owners.get(path, "")
    if seen.entry.kind is Kind.DIR:
        draft.conflicts.append(folder_in_the_way(path, wanted, owner or "nobody"))
        return
    asked = wanted.adopt or view.adopt_all
    if not (asked or view.displace):
        draft.conflicts.append(not_ours(path, wanted, owner))
        return
    if path in view.packaged and wanted.edit is None and not seen.entry.same(wanted.entry):
        _adopt_edited(path, wanted, seen, view, draft)
        return
    same = seen.entry.same(aim(wanted))
    if not same:
        note = "adopted" if asked else IN_THE_WAY
        step = step_for(Action.REPLACE, path, wanted, old=seen.entry, new=aim(wanted), edited=not asked, note=note)
        draft.steps.append(step)
    record = msgspec.structs.replace(laid_record(wanted), original=seen.entry)
    draft.records[path] = msgspec.structs.replace(record, stat=seen.stat) if same else record


def _adopt_edited(path: str, wanted: Wanted, seen: Seen, view: View, draft: Draft) -> None:
    """A package's file that somebody edited: as an edit of a version before, of which the package's is the first."""
    base = view.packaged[path]
    asked = wanted.on_edit is OnEdit.MERGE and base is not None and not view.exactly
    merged = three_way(base, seen.entry, wanted.entry, view.merges.get(path)) if asked and base is not None else None
    if isinstance(merged, Refusal):
        draft.kept.append(Kept(path=path, bundle=wanted.bundle, verdict="edited", pending=True, reason=merged))
        record = record_of(wanted, base=base, found=seen.entry, seen=seen)
    else:
        new = merged or wanted.entry
        note = "adopted, and merged with this host's edit" if merged else "adopted; it had been edited on this host"
        step = step_for(Action.REPLACE, path, wanted, old=seen.entry, new=new, edited=True, note=note)
        draft.steps.append(msgspec.structs.replace(step, merged=merged is not None))
        record = laid_record(wanted, edit=merged)
    draft.records[path] = msgspec.structs.replace(record, original=seen.entry)


def _plan_deleted(path: str, wanted: Wanted, record: FileRecord, view: View, draft: Draft) -> None:
    """The administrator removed it."""
    changed = not wanted.entry.same(record.placed)
    aborts = wanted.on_edit is OnEdit.ABORT and changed and not wanted.settled
    if wanted.absent:
        _stay_deleted(path, wanted, record, draft, base=wanted.edit_of)
    elif wanted.decided is Decided.TAKE or _replaces(wanted) or (aborts and view.displace) or _covered(path, view):
        draft.steps.append(step_for(Action.CREATE, path, wanted, new=aim(wanted), note="it had been deleted"))
        draft.records[path] = laid_record(wanted, record)
        draft.gone.append(path)
    elif aborts:
        draft.conflicts.append(edited_meanwhile(path, wanted, "deleted"))
    else:
        pending = changed and wanted.decided is not Decided.KEEP
        _stay_deleted(path, wanted, record, draft, base=record.placed if pending else None)


def _covered(path: str, view: View) -> bool:
    """Whether what is in its way lies there instead, or in the place of a folder above it."""
    above = (seen for folder in ancestors(path) if (seen := view.seen.get(folder)) is not None)
    return path in view.cleared or (view.displace and any(seen.entry.kind is not Kind.DIR for seen in above))


def _stay_deleted(path: str, wanted: Wanted, record: FileRecord | None, draft: Draft, *, base: Entry | None) -> None:
    draft.kept.append(Kept(path=path, bundle=wanted.bundle, verdict="deleted", pending=base is not None))
    draft.records[path] = record_of(wanted, record, base=base, deleted=True)


def _plan_ours(path: str, wanted: Wanted, record: FileRecord, seen: Seen, view: View, draft: Draft) -> None:
    """A path that ashore put something at, and where something lies."""
    laid = seen.entry.same(record.put or record.placed) and not record.deleted
    if wanted.absent and laid:
        draft.steps.append(unwanted_step(Action.REMOVE, path, record, seen.entry, None, False))
        draft.records[path] = record_of(wanted, record, base=wanted.edit_of, deleted=True)
    elif wanted.decided is Decided.KEEP and not seen.entry.same(wanted.entry):
        _keep(path, wanted, record, seen, draft, pending=False)
    elif seen.entry.same(aim(wanted)):
        draft.records[path] = laid_record(wanted, record, seen)
        if wanted.edit is not None and not laid and not wanted.edit.same(wanted.entry):
            # Still the administrator's: of what ashore laid there, a copy is somewhere in the history.
            draft.records[path] = record_of(wanted, record, base=wanted.edit_of, found=seen.entry, seen=seen)
        if wanted.edit is not None:
            pending = draft.records[path].pending
            draft.kept.append(Kept(path=path, bundle=wanted.bundle, verdict="edited", pending=pending))
    elif seen.entry.same(base_of(wanted, record)) or (wanted.edit is None and seen.entry.same(record.entry)):
        # As ashore put it there; or as the version that waited, which somebody took by hand.
        draft.steps.append(_replacing(path, wanted, record, seen, aim(wanted), edited=not laid))
        draft.records[path] = laid_record(wanted, record)
    elif wanted.decided is Decided.TAKE or _replaces(wanted):
        _replace_edit(path, wanted, record, seen, draft)
    elif seen.entry.same_content(base_of(wanted, record)) and not aim(wanted).same_content(seen.entry):
        # Somebody changed only the mode or owner: that must not freeze the content.
        new = dressed(aim(wanted), base_of(wanted, record), seen.entry, aim(wanted))
        note = "its own mode and owner stay"
        draft.steps.append(_replacing(path, wanted, record, seen, new, note=note, edited=not laid))
        draft.records[path] = laid_record(wanted, record, edit=new)
    else:
        _plan_edited(path, wanted, record, seen, view, draft)


def _replaces(wanted: Wanted) -> bool:
    """Whether an edit goes for what is wanted, because the bundle has it so."""
    return wanted.on_edit is OnEdit.REPLACE and not wanted.settled


def _plan_edited(path: str, wanted: Wanted, record: FileRecord, seen: Seen, view: View, draft: Draft) -> None:
    """Somebody on the host made something else of it."""
    changed = not wanted.entry.same(record.placed)
    if wanted.settled or not (changed or wanted.edit):
        _keep(path, wanted, record, seen, draft, pending=changed or wanted.edit_of is not None)
    elif _gives_way(wanted, view):
        _replace_edit(path, wanted, record, seen, draft)
    elif wanted.on_edit is OnEdit.ABORT:
        draft.conflicts.append(edited_meanwhile(path, wanted, "edited"))
    elif wanted.on_edit is OnEdit.MERGE:
        _plan_merge(path, wanted, record, seen, view, draft)
    else:
        _keep(path, wanted, record, seen, draft, pending=changed)


def _gives_way(wanted: Wanted, view: View) -> bool:
    """Whether an edit goes for what is wanted, because nobody is there to decide."""
    return (view.displace and wanted.on_edit is OnEdit.ABORT) or (view.exactly and wanted.on_edit is OnEdit.MERGE)


def _replace_edit(path: str, wanted: Wanted, record: FileRecord, seen: Seen, draft: Draft) -> None:
    note = "an edit is replaced; it stays in the store"
    draft.steps.append(_replacing(path, wanted, record, seen, aim(wanted), note=note, edited=True))
    draft.records[path] = laid_record(wanted, record)


def _plan_merge(path: str, wanted: Wanted, record: FileRecord, seen: Seen, view: View, draft: Draft) -> None:
    """Edit and new version in one, where they are apart; else the edit stays, and the new version waits."""
    merged = three_way(base_of(wanted, record), seen.entry, aim(wanted), view.merges.get(path))
    if isinstance(merged, Refusal):
        pending = not wanted.entry.same(record.placed)
        _keep(path, wanted, record, seen, draft, pending=pending, reason=merged)
    elif merged.same(seen.entry):
        _keep(path, wanted, record, seen, draft, pending=False)
    else:
        whole = merged.same(wanted.entry)
        note = "the new version has this host's edit" if whole else "merged with this host's edit"
        edited = record.put is None or not seen.entry.same(record.put)
        step = _replacing(path, wanted, record, seen, merged, note=note, edited=edited)
        draft.steps.append(msgspec.structs.replace(step, merged=not whole))
        draft.records[path] = laid_record(wanted, record, edit=merged)


def _keep(
    path: str, wanted: Wanted, record: FileRecord, seen: Seen, draft: Draft, *, pending: bool, reason: str = ""
) -> None:
    draft.kept.append(Kept(path=path, bundle=wanted.bundle, verdict="edited", pending=pending, reason=reason))
    lies = record.put is not None and seen.entry.same(record.put)
    edit_of = (wanted.edit_of if wanted.entry.same(record.placed) else None) or record.placed
    draft.records[path] = record_of(
        wanted,
        record,
        base=edit_of if pending else None,
        put=record.put if lies else None,
        found=None if lies else seen.entry,
        seen=seen,
    )


def step_for(
    action: Action,
    path: str,
    wanted: Wanted,
    *,
    new: Entry | None,
    old: Entry | None = None,
    secret: bool = False,
    edited: bool = False,
    note: str = "",
) -> Step:
    """A step towards `wanted`."""
    return Step(
        action=action,
        path=path,
        bundle=wanted.bundle,
        old=old,
        new=new,
        secret=wanted.secret or secret,
        edited=edited,
        note=note,
    )


def _replacing(
    path: str, wanted: Wanted, record: FileRecord, seen: Seen, new: Entry, *, note: str = "", edited: bool = False
) -> Step:
    # What goes may hold a secret of the version before, and a difference shows both sides.
    return step_for(
        Action.REPLACE, path, wanted, old=seen.entry, new=new, secret=record.secret, edited=edited, note=note
    )


def unwanted_step(
    action: Action, path: str, record: FileRecord, old: Entry | None, new: Entry | None, edited: bool
) -> Step:
    """A step away from what no bundle wants any more."""
    note = "what was there before" if new else ("an edit; it stays in the store" if edited else "")
    return Step(
        action=action, path=path, bundle=record.bundle, old=old, new=new, secret=record.secret, edited=edited, note=note
    )
