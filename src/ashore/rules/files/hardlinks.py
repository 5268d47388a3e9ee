# SPDX-License-Identifier: Apache-2.0
"""Which files have to be written again, though they look right, since they share an inode or should. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from ashore.nouns.files import Entry, FileSet, Kind, Seen
from ashore.nouns.generation import FileRecord


def regrouped(
    desired: FileSet,
    records: Mapping[str, FileRecord],
    seen: Mapping[str, Seen],
    changing: Collection[str],
    after: Mapping[str, FileRecord],
) -> list[str]:
    """The paths whose group of hard links differs between what was placed and what is wanted.

    A path that is `changing` is written anyway, and one that somebody edited, or that was not ours, is left. One that
    is not as its group by the records `after` this plan, since an edit is kept there, is of no group.
    """
    apart = {p for p, r in after.items() if (lay := r.lay) is not r.entry and (lay is None or not lay.same(r.entry))}
    wanted = _groups((path, item.entry) for path, item in desired.items() if item.entry.link and path not in apart)
    placed = _groups(
        (path, placed) for path, record in records.items() if (placed := record.placed).link and path not in apart
    )
    return [
        path
        for path in _differing(wanted, placed)
        if path not in changing
        and path in desired
        and path in records
        and path in seen
        and seen[path].entry.same(records[path].placed)
        and seen[path].entry.same(desired[path].entry)
    ]


def _differing(wanted: Mapping[str, set[str]], placed: Mapping[str, set[str]]) -> Iterator[str]:
    """The paths that have other names beside them than before, in order. Two groups are compared once, not by name."""
    compared: dict[tuple[int, int], bool] = {}
    for path in sorted(wanted.keys() | placed.keys()):
        now, before = wanted.get(path), placed.get(path)
        if now is None or before is None:
            differ = (now or {path}) != (before or {path})
        else:
            pair = (id(now), id(before))
            differ = compared[pair] if pair in compared else compared.setdefault(pair, now != before)
        if differ:
            yield path


def _groups(entries: Iterable[tuple[str, Entry]]) -> dict[str, set[str]]:
    """All names of its inode, by name; without the files that have only one."""
    by_first: dict[str, set[str]] = {}
    for path, entry in entries:
        if entry.kind is Kind.FILE:
            by_first.setdefault(entry.link, set()).add(path)
    return {path: names for names in by_first.values() for path in names}
