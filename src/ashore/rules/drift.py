# SPDX-License-Identifier: Apache-2.0
"""How a host differs from its generation, path by path. Pure."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.files import Kind, Seen
from ashore.nouns.generation import FileRecord, Generation


class Verdict(StrEnum):
    EDITED = "edited"
    """Somebody changed the content, target or kind."""
    ATTRIBUTES = "attributes"
    """Somebody changed mode, owner or extended attributes only."""
    DELETED = "deleted"


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One path that is not as ashore left it."""

    path: str
    bundle: str
    verdict: Verdict
    known: bool
    """It was so at the last transaction already, and was kept."""
    pending: bool = False
    """A new version waits."""


def drift(generation: Generation, seen: Mapping[str, Seen]) -> tuple[Drift, ...]:
    """Every path of a generation that differs from what ashore placed there."""
    found = []
    for path, record in sorted(generation.files.items()):
        verdict = _verdict(record, seen.get(path))
        if verdict is not None:
            there = seen[path].entry if path in seen else None
            lay = record.lay
            known = (there is None and lay is None) or (there is not None and there.same(lay))
            found.append(Drift(path=path, bundle=record.bundle, verdict=verdict, known=known, pending=record.pending))
    return tuple(found)


def _verdict(record: FileRecord, seen: Seen | None) -> Verdict | None:
    placed = record.placed
    if seen is None:
        return Verdict.DELETED
    if seen.entry.same(placed):
        return None
    if seen.entry.same_content(placed) or (placed.kind is Kind.DIR and seen.entry.kind is Kind.DIR):
        return Verdict.ATTRIBUTES
    return Verdict.EDITED
