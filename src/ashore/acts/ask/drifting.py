# SPDX-License-Identifier: Apache-2.0
"""How the host differs from its generation: files, units, what runs, and what nobody put there."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from ashore.acts.tools import Tools
from ashore.mechanisms.host.observe import observe
from ashore.mechanisms.host.packages import owners
from ashore.mechanisms.host.unitfiles import mask_of
from ashore.mechanisms.state import journal
from ashore.nouns.files import Kind, Seen
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Journal
from ashore.nouns.ports import Identity
from ashore.rules.files.drift import Drift, drift, foreign, outdated, own_folders, units_of


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who only asks has found."""

    generation: Generation
    drift: tuple[Drift, ...]
    """What the change at work touches is none."""
    at_work: str
    """What another ashore is about, by its verb; empty where none has begun a change."""


def drift_beside(tools: Tools, *, verify: bool = False) -> Found:
    """The drift, for who asks and has no lock: another ashore may be at work. Where it ends meanwhile, look again."""
    while True:
        generation, before = tools.history.current(), journal.under_way(tools.state)
        found = host_drift(tools, generation, verify=verify)
        now = journal.under_way(tools.state)
        ended = before is not None and (now is None or now.begun.transaction != before.begun.transaction)
        if not ended and tools.history.current().transaction == generation.transaction:
            touched = _touched(now)
            found = tuple(item for item in found if item.path not in touched)
            return Found(generation=generation, drift=found, at_work=now.begun.verb if now is not None else "")


def _touched(under_way: Journal | None) -> frozenset[str]:
    staged = under_way.staged if under_way is not None else None
    return frozenset(step.step.path for step in staged.steps) if staged is not None else frozenset()


def host_drift(tools: Tools, generation: Generation, *, verify: bool = False) -> tuple[Drift, ...]:
    """Everything that is not as `generation` has it; contents are read where a stat changed, or with `verify`."""
    listings: dict[str, Sequence[str] | None] = dict.fromkeys(own_folders(generation))
    seen = observe(tools.host, generation.files, generation.files, read_all=verify, listings=listings)
    masks = {unit: mask for unit in units_of(generation) if (mask := mask_of(tools.host, unit))}
    found = drift(generation, seen, masks)
    found += _foreign(tools, generation, {folder: names for folder, names in listings.items() if names})
    return found + (outdated(generation, _stale(tools, generation, seen)) if tools.processes is not None else ())


def _foreign(tools: Tools, generation: Generation, listings: Mapping[str, Collection[str]]) -> tuple[Drift, ...]:
    strange = [
        path for f, names in listings.items() for name in names if (path := f"{f}/{name}") not in generation.files
    ]
    return foreign(generation, listings, owners(tools.host, strange)) if strange else ()


def _stale(tools: Tools, generation: Generation, seen: Mapping[str, Seen]) -> Mapping[str, tuple[str, ...]]:
    """By unit, the paths whose older files are still in memory. Older ones are known by the kept generations."""
    assert tools.processes is not None
    files: dict[Identity, str] = {}
    for recorded in (*tools.history.all(), generation):
        for path, record in recorded.files.items():
            there = seen.get(path)
            if record.stat is None or there is None or record.entry.kind is not Kind.FILE or path.startswith("etc/"):
                continue
            identity = (record.stat.device, record.stat.inode)
            if path in generation.files and identity != (there.stat.device, there.stat.inode):
                files[identity] = path
    return tools.processes.mapping(files, gone=True) if files else {}
