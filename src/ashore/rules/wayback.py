# SPDX-License-Identifier: Apache-2.0
"""What administrators had made of a generation when the next one came: a rollback brings that back as well. Pure."""

from collections.abc import Iterable, Mapping

from ashore.nouns.files import Entry
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.journal import Edit


def edits_when_left(older: Generation, recorded: Iterable[Generation], edits: Iterable[Edit]) -> Mapping[str, Entry]:
    """By path: the edit that was moved aside by whoever first changed the path after `older`.

    Edits of later versions are not among them; what is recorded in `edits` was written while the path changed.
    """
    found: dict[str, Entry] = {}
    open_paths = {path: _laid(record) for path, record in older.files.items()}
    moved: dict[int, dict[str, Entry]] = {g.number: dict(g.displaced) for g in recorded}
    for edit in edits:
        moved.setdefault(edit.generation, {})[edit.path] = edit.entry
    by_number = {g.number: g for g in recorded}
    for number in sorted(n for n in moved if n > older.number):
        for path in open_paths.keys() & moved[number].keys():
            found[path] = moved[number][path]
        later = by_number.get(number)
        open_paths = {
            path: laid
            for path, laid in open_paths.items()
            if path not in found and (later is None or _unchanged(later.files.get(path), laid))
        }
    return found


def _laid(record: FileRecord) -> Entry:
    """What ashore put there."""
    return record.put or record.placed


def _unchanged(record: FileRecord | None, laid: Entry) -> bool:
    return record is not None and _laid(record).same(laid)
