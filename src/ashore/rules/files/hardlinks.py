# SPDX-License-Identifier: Apache-2.0
"""Which files have to be written again, though they look right, since they share an inode or should. Pure."""

from collections.abc import Collection, Iterable, Mapping

from ashore.nouns.files import Entry, FileSet, Kind, Seen
from ashore.nouns.generation import FileRecord


def regrouped(
    desired: FileSet, records: Mapping[str, FileRecord], seen: Mapping[str, Seen], changing: Collection[str]
) -> list[str]:
    """The paths whose group of hard links differs between what was placed and what is wanted.

    A path that is `changing` is written anyway, and one that somebody edited, or that was not ours, is left.
    """
    wanted = _groups((path, item.entry) for path, item in desired.items() if item.entry.link)
    placed = _groups((path, placed) for path, record in records.items() if (placed := record.placed).link)
    return [
        path
        for path in sorted(wanted.keys() | placed.keys())
        if wanted.get(path, {path}) != placed.get(path, {path})
        and path not in changing
        and path in desired
        and path in records
        and path in seen
        and seen[path].entry.same(records[path].placed)
        and seen[path].entry.same(desired[path].entry)
    ]


def _groups(entries: Iterable[tuple[str, Entry]]) -> dict[str, set[str]]:
    """All names of its inode, by name; without the files that have only one."""
    by_first: dict[str, set[str]] = {}
    for path, entry in entries:
        if entry.kind is Kind.FILE:
            by_first.setdefault(entry.link, set()).add(path)
    return {path: names for names in by_first.values() for path in names}
