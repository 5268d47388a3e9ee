# SPDX-License-Identifier: Apache-2.0
"""How a host differs from its generation: path by path, and unit by unit. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.files import Entry, Kind, OnEdit, Seen, folders_of, shown
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.units import PULLING, UNIT_FOLDERS, UnitAction, UnitVerb
from ashore.rules.units.enablement import enabled_by
from ashore.rules.units.restarts import TAKES_THE_BUS_DOWN

_RUN_TIME = ("var/", "srv/", "home/", "root/", "tmp/", "run/", "mnt/", "media/")
"""Where programs and people put their own things: whatever lies there is nobody's drift (hier(7))."""
_OWNERS = "etc/ashore/"
"""Where the host's owner says what this host is: a bundle may lay values beside his, and they stay his."""


class Verdict(StrEnum):
    EDITED = "edited"
    """Somebody changed the content, target or kind."""
    ATTRIBUTES = "attributes"
    """Somebody changed mode, owner or extended attributes only."""
    DELETED = "deleted"
    FOREIGN = "foreign"
    """It is of no bundle and no package, in a folder that is a bundle's alone."""
    DISABLED = "disabled"
    """Somebody disabled a unit that a bundle enables."""
    MASKED = "masked"
    """Somebody masked a unit of a bundle."""
    OUTDATED = "outdated"
    """A unit runs by an older file than the one that lies there."""


class Next(StrEnum):
    """What the next change of its bundle does with a deleted path, by its `on_edit`."""

    STAYS = "stays deleted"
    RETURNS = "comes back"
    REFUSED = "a new version of it is refused"


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One path that is not as ashore left it."""

    path: str
    bundle: str
    verdict: Verdict
    known: bool
    """It was so at the last transaction already, and was kept."""
    pending: bool = False
    """A new version waits."""
    unit: str = ""
    """The unit that it is about, where it is about one."""
    next: Next | None = None
    """Of a deleted path."""
    old: Entry | None = None
    """What ashore placed there, of one that was edited, if only in its attributes."""
    new: Entry | None = None
    """What lies there then."""
    secret: bool = False
    """It holds a secret value: its content is shown nowhere."""


_NEXT = {OnEdit.REPLACE: Next.RETURNS, OnEdit.ABORT: Next.REFUSED}


def drift(generation: Generation, seen: Mapping[str, Seen], masks: Mapping[str, str]) -> tuple[Drift, ...]:
    """Every path that differs from what ashore placed there; and masked units, which `masks` has with their paths."""
    found = []
    for path, record in generation.files.items():
        verdict = _verdict(record, seen.get(path))
        if verdict is None or path in masks.values():
            continue
        there = seen[path].entry if path in seen else None
        lay = record.lay
        known = (there is None and lay is None) or (there is not None and there.same(lay))
        link = verdict is Verdict.DELETED and record.entry.kind is Kind.SYMLINK
        unit = enabled_by(path, record.entry.target) if link else ""
        edited = verdict in (Verdict.EDITED, Verdict.ATTRIBUTES)
        found.append(
            Drift(
                path=path,
                bundle=record.bundle,
                verdict=Verdict.DISABLED if unit else verdict,
                known=known,
                pending=record.pending,
                unit=unit,
                next=_NEXT.get(record.on_edit, Next.STAYS) if verdict is Verdict.DELETED and not unit else None,
                old=record.placed if edited else None,
                new=there if edited else None,
                secret=record.secret,
            )
        )
    return (*sorted(found, key=lambda item: item.path), *_masked(generation, masks))


def _verdict(record: FileRecord, seen: Seen | None) -> Verdict | None:
    placed = record.placed
    if seen is None:
        return Verdict.DELETED
    if seen.entry.same(placed):
        return None
    if seen.entry.same_content(placed) or (placed.kind is Kind.DIR and seen.entry.kind is Kind.DIR):
        return Verdict.ATTRIBUTES
    return Verdict.EDITED


def _masked(generation: Generation, masks: Mapping[str, str]) -> list[Drift]:
    owners = units_of(generation)
    return [
        Drift(path=path, bundle=owners[unit], verdict=Verdict.MASKED, known=False, unit=unit)
        for unit, path in sorted(masks.items())
        if unit in owners
    ]


def units_of(generation: Generation) -> dict[str, str]:
    """The units that bundles ship or enable, each with its bundle."""
    return {unit: bundle.name for bundle in generation.bundles for unit in (*bundle.units, *bundle.enabled)}


def own_folders(generation: Generation) -> tuple[str, ...]:
    """The folders in which nothing but a bundle's should lie: ashore made them, and no program keeps its data there."""
    holding = folders_of(path for path, record in generation.files.items() if record.entry.kind is not Kind.DIR)
    return tuple(
        path
        for path, record in generation.files.items()
        if record.entry.kind is Kind.DIR
        and not f"{path}/".startswith((*_RUN_TIME, _OWNERS))
        and not path.endswith(PULLING)
        and path not in UNIT_FOLDERS
        and path in holding
    )


def foreign(
    generation: Generation, listings: Mapping[str, Iterable[str]], packaged: Mapping[str, str]
) -> tuple[Drift, ...]:
    """What lies in such folders and is nobody's; `packaged` are paths of distribution packages."""
    found = []
    for folder, names in sorted(listings.items()):
        for name in sorted(names):
            path = f"{folder}/{name}"
            if path not in generation.files and path not in packaged and path not in generation.made:
                bundle = generation.files[folder].bundle
                found.append(Drift(path=path, bundle=bundle, verdict=Verdict.FOREIGN, known=False))
    return tuple(found)


def outdated(generation: Generation, stale: Mapping[str, Iterable[str]]) -> tuple[Drift, ...]:
    """Units that run by an older version of a bundle's path; `stale` has the paths by unit."""
    return tuple(
        Drift(path=path, bundle=generation.files[path].bundle, verdict=Verdict.OUTDATED, known=False, unit=unit)
        for unit, paths in sorted(stale.items())
        for path in sorted(paths)
        if path in generation.files
    )


def repairable(item: Drift, *, kept: bool, foreign: bool) -> bool:
    """Whether a repair puts it right: what was kept at the last change only if somebody says so."""
    match item.verdict:
        case Verdict.FOREIGN:
            return foreign
        case Verdict.OUTDATED:
            return can_restart(item.unit)
        case _:
            return kept or not item.known


def can_restart(unit: str) -> bool:
    """Whether a unit restarts with no harm to others: sessions, the message bus and PID 1 itself do not."""
    return unit.endswith(".service") and not unit.startswith("user@") and unit not in TAKES_THE_BUS_DOWN


def restarting(items: Iterable[Drift]) -> tuple[UnitAction, ...]:
    """One restart for each unit that runs by older files."""
    by_unit: dict[str, list[str]] = {}
    for item in items:
        if item.verdict is Verdict.OUTDATED:
            by_unit.setdefault(item.unit, []).append(item.path)
    return tuple(
        UnitAction(verb=UnitVerb.RESTART, unit=unit, reason=f"it runs by an older {shown(paths[0])}")
        for unit, paths in sorted(by_unit.items())
    )
