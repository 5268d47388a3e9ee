# SPDX-License-Identifier: Apache-2.0
"""How the host differs from its generation: files, units, what runs, and what nobody put there."""

from collections.abc import Collection, Mapping, Sequence

from ashore.acts.tools import Tools
from ashore.mechanisms.host.observe import observe
from ashore.mechanisms.host.packages import owners
from ashore.mechanisms.host.unitfiles import mask_of
from ashore.nouns.files import Kind, Seen
from ashore.nouns.generation import Generation
from ashore.nouns.ports import Identity
from ashore.rules.files.drift import Drift, drift, foreign, outdated, own_folders, units_of


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
