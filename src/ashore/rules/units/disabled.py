# SPDX-License-Identifier: Apache-2.0
"""Units that an administrator disabled: none of the symlinks that enabled them is on the host any more. Pure."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from ashore.nouns.files import Entry, Kind, Wanted
from ashore.nouns.generation import FileRecord
from ashore.rules.units.enablement import enabled_by


def without(links: Iterable[tuple[str, Entry]], gone: Collection[str]) -> frozenset[str]:
    """Of the units that are enabled by `links`, those of which all are among `gone`."""
    left: dict[str, bool] = {}
    for path, entry in links:
        if entry.kind is Kind.SYMLINK and (unit := enabled_by(path, entry.target)):
            left[unit] = left.get(unit, False) or path not in gone
    return frozenset(unit for unit, enabled in left.items() if not enabled)


def stay_disabled(
    desired: dict[str, Wanted], records: Mapping[str, FileRecord], present: Collection[str]
) -> tuple[dict[str, Wanted], tuple[str, ...]]:
    """What is wanted, without links that would enable anew what somebody disabled; and the units that they are of.

    They are recorded as the ones that were taken away are: whoever enables the unit by hand makes all of them.
    """
    gone = records.keys() - present
    off = without(((path, record.entry) for path, record in records.items()), gone) if gone else frozenset[str]()
    held: dict[str, Wanted] = {}
    units: set[str] = set()
    for path, wanted in desired.items() if off else ():
        unit = enabled_by(path, wanted.entry.target) if wanted.entry.kind is Kind.SYMLINK else ""
        if unit in off and path not in records and path not in present:
            held[path] = msgspec.structs.replace(wanted, absent=True)
            units.add(unit)
    return {**desired, **held} if held else desired, tuple(sorted(units))
