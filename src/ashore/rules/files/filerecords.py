# SPDX-License-Identifier: Apache-2.0
"""What a generation records of a path, from what was wanted and what became of it. Pure."""

from ashore.nouns.files import Entry, Kind, Seen, Wanted
from ashore.nouns.generation import FileRecord


def stays(wanted: Wanted, before: FileRecord, seen: Seen | None) -> bool:
    """Whether a file's record stays to the last letter: what is wanted is what was, and it lies there as it was put."""
    return (
        seen is not None
        and seen.entry is before.entry  # of several versions none waits, none was merged, and none was found
        and seen.stat == before.stat
        and not (before.base or before.put or before.found or before.deleted)
        and not (wanted.edit or wanted.decided or wanted.absent)
        and wanted.entry == before.entry
        and wanted.entry.kind is not Kind.DIR
        and (wanted.others, wanted.through) == (before.others, before.through)
        and (wanted.bundle, wanted.secret, wanted.on_edit) == (before.bundle, before.secret, before.on_edit)
        and wanted.validate == before.validate
        and wanted.reload == before.reload
        and wanted.restart == before.restart
    )


def laid_record(
    wanted: Wanted, before: FileRecord | None = None, seen: Seen | None = None, edit: Entry | None = None
) -> FileRecord:
    """The record of a path where what shall lie there does: the bundle's version, or an edit of it."""
    edit = edit or wanted.edit
    if edit is None or edit.same(wanted.entry):
        return record_of(wanted, before, seen=seen)
    return record_of(wanted, before, base=wanted.edit_of if wanted.edit else None, put=edit, seen=seen)


def record_of(
    wanted: Wanted,
    before: FileRecord | None = None,
    *,
    base: Entry | None = None,
    put: Entry | None = None,
    found: Entry | None = None,
    seen: Seen | None = None,
    deleted: bool = False,
) -> FileRecord:
    """The record that a path has from now on; what lay there before ashore stays on it."""
    lines_of_before = base or put or found
    record = FileRecord(
        bundle=wanted.bundle,
        entry=wanted.entry,
        base=base,
        put=put,
        found=found,
        deleted=deleted,
        stat=seen.stat if seen else None,
        original=before.original if before else None,
        others=wanted.others,
        through=wanted.through,
        secret=wanted.secret or bool(before and before.secret and lines_of_before),
        on_edit=wanted.on_edit,
        validate=wanted.validate,
        reload=wanted.reload,
        restart=wanted.restart,
    )
    return before if before is not None and record == before else record  # most stay, and are in memory already
