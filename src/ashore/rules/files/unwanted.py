# SPDX-License-Identifier: Apache-2.0
"""What becomes of a file that no bundle wants any more: it goes, and what was there before comes back. Pure."""

import functools
from collections.abc import Iterable, Mapping

from ashore.nouns.files import Entry, FileSet, Kind, Seen, ancestors, folders_of, shown
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.plan import Action, Step
from ashore.rules.files.decide import Draft, View, unwanted_step

_STORED = "; it stays in the store"


def plan_unwanted(desired: FileSet, current: Generation, view: View, draft: Draft) -> None:
    """Every recorded file that is not planned yet."""
    above = functools.cache(lambda: folders_of(desired))
    for path, record in current.files.items():
        if path in draft.records or record.entry.kind is Kind.DIR or path in view.cleared:
            continue
        folder = path in desired
        if folder and desired[path].entry.kind is not Kind.DIR:
            continue
        original = record.given_back
        if original is not None and (folder or path in above()):
            original = None  # The folder's record has it from now on: it comes back when that goes.
        elif original is not None and (solid := _file_above(path, desired)):
            why = f"{shown(solid)} is a file now"
            draft.notes.append(f"what was at {shown(path)} before cannot come back: {why}{_STORED}")
            original = None
        _plan_one(path, record, original, view.seen.get(path), draft)
    draft.notes += _moved_away(desired, current, view, draft)


def _moved_away(desired: FileSet, current: Generation, view: View, draft: Draft) -> list[str]:
    """Somebody moved a folder and put a symlink there: what lies where that leads may be his own by now."""
    links = {above for path in draft.gone if path in current.files for above in ancestors(path)} & view.seen.keys()
    followed = {link for wanted in desired.values() for link in wanted.through} if links else set[str]()
    return [
        f"{shown(link)} is a symlink now; it is left alone, and so is what it leads to"
        for link in sorted(links - followed)
        if view.seen[link].entry.kind is Kind.SYMLINK and link not in desired
    ]


def _file_above(path: str, desired: FileSet) -> str:
    return next((a for a in ancestors(path) if a in desired and desired[a].entry.kind is not Kind.DIR), "")


def _plan_one(path: str, record: FileRecord, original: Entry | None, seen: Seen | None, draft: Draft) -> None:
    if seen is not None and seen.entry.kind is Kind.DIR:
        lost = f"; what was there before cannot come back{_STORED}" if original is not None else ""
        draft.notes.append(f"{path} is a folder now; it is left alone{lost}")
        return
    if seen is None:
        draft.gone.append(path)
    if original is None:
        if seen is not None:
            edited = not seen.entry.same(record.placed)
            draft.steps.append(unwanted_step(Action.REMOVE, path, record, seen.entry, None, edited))
    elif seen is None:
        draft.steps.append(unwanted_step(Action.CREATE, path, record, None, original, False))
    elif not seen.entry.same(original):
        edited = not seen.entry.same(record.placed)
        draft.steps.append(unwanted_step(Action.REPLACE, path, record, seen.entry, original, edited))


def originals_without_a_place(
    before: Mapping[str, FileRecord], after: Mapping[str, FileRecord], seen: Mapping[str, Seen], steps: Iterable[Step]
) -> dict[str, Entry]:
    """What was there before ashore, that no record has from now on, and that neither comes back nor lies there."""
    new = {step.path: step.new for step in steps if step.action is not Action.MKDIR}
    found = {}
    for path, record in before.items():
        if record.original is None or (path in after and record.original.same(after[path].original)):
            continue
        there = new[path] if path in new else seen[path].entry if path in seen else None
        if not record.original.same(there):
            found[path] = record.original
    return found
