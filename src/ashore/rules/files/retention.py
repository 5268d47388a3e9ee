# SPDX-License-Identifier: Apache-2.0
"""Which generations stay, and which contents they need that do not lie on the host. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Edit
from ashore.rules.files.threeway import is_base, merges


def kept(generations: Iterable[Generation], current: int, keep: int) -> list[int]:
    """The newest `keep` generations, the last of each of the newest `keep` states of bundles, always the current one.

    A generation of the same bundles as the one before tells of edits at most, and takes no other state's place.

    A rollback brings an earlier one back, so that it takes nobody's place: else going back twice would end
    where the first step back made the generation before go. Of rollbacks the newest `keep` stay as well.
    """
    recorded = sorted(generations, key=lambda g: g.number)
    by_number = {g.number: g for g in recorded}
    forth = [g for g in recorded if not _went_back(g)]
    states = [list(same) for _, same in groupby(forth, key=lambda g: g.bundles)][-max(1, keep) :]
    # What a state was left with is told by the generation after it.
    ends = {same[-1].number for same in states} | {same[0].number for same in states[1:]}
    made = sorted(ends | {g.number for g in forth[-max(1, keep) :]})
    back = [g.number for g in recorded if _went_back(g) and g.number > min(made, default=0)][-max(1, keep) :]
    stay = {*made, *back, current}
    if current in by_number:
        stay.add(_origin(by_number[current], by_number).number)
    return sorted(stay & by_number.keys())


def bases(generation: Generation) -> set[Digest]:
    """The copies that are kept although their content lies on the host."""
    return {
        entry.digest
        for path, record in generation.files.items()
        if merges(path, record.on_edit)
        for entry in record.ours
        if is_base(path, entry, record.on_edit)
    }


def needed(
    generations: Iterable[Generation], current: Generation, edits: Iterable[Edit], discarded: int = 0
) -> set[Digest]:
    """The contents that the store must have: all that anyone may come back for, less what lies on the host.

    Of generations up to `discarded` nobody comes back for edits.
    """
    wanted = {edit.digest for edit in edits}
    for generation in generations:
        wanted |= {bundle.source for bundle in generation.bundles if bundle.source}
        wanted |= {record.entry.digest for record in generation.files.values()}
        wanted |= {entry.digest for entry in _others(generation, edits=generation.number > discarded)}
    wanted.discard(Digest(""))  # of what is no file
    lying = {lay.digest for record in current.files.values() if (lay := record.lay) is not None}
    # What waits may lie under another name as well, and be edited there.
    waiting = {record.entry.digest for record in current.files.values() if record.pending} - {Digest("")}
    return (wanted - lying) | waiting | bases(current)


def edits_of(generation: Generation) -> list[Edit]:
    """The edits that a generation moved aside, and what was before ashore and lost its place: they outlive it."""
    return [
        Edit(path=path, digest=entry.digest, generation=generation.number, entry=entry, original=original)
        for entries, original in ((generation.displaced, False), (generation.originals, True))
        for path, entry in entries.items()
    ]


def secrets_of(generations: Iterable[Generation]) -> set[str]:
    """The names of secret values that these generations refer to."""
    return {value.secret for g in generations for b in g.bundles for value in b.sets.values() if value.secret}


def _others(generation: Generation, *, edits: bool) -> Iterable[Entry]:
    """What a generation may want beside the versions of its bundles."""
    if edits:
        yield from generation.displaced.values()
        yield from generation.originals.values()
    for record in generation.files.values():
        if record.base is not None:
            yield record.base
        if record.original is not None:
            yield record.original
        if edits and record.put is not None:
            yield record.put
        if edits and record.found is not None:
            yield record.found


def before(generation: Generation, recorded: Sequence[Generation], bundle: str = "") -> Generation | None:
    """Where one rollback (of `bundle`, or of all) from `generation` leads: what held before it.

    A rollback's own "before" is that of the generation it restored, so a second rollback goes further back.
    """
    by_number = {g.number: g for g in recorded}
    origin = _origin(generation, by_number, bundle)
    earlier = [g for g in recorded if g.number < origin.number]
    return _origin(earlier[-1], by_number, bundle) if earlier else None


def is_another(generation: Generation, than: Generation, recorded: Sequence[Generation]) -> bool:
    """Whether they are two generations, and neither one that was brought back and the other the rollback to it."""
    by_number = {g.number: g for g in recorded}
    return _origin(generation, by_number).number != _origin(than, by_number).number


def last_held(generation: Generation, recorded: Sequence[Generation], bundle: str = "") -> Generation:
    """The generation, or the newest rollback to it: whatever was edited meanwhile, was edited in that."""
    by_number = {g.number: g for g in recorded}
    again = [g for g in recorded if _origin(g, by_number, bundle).number == generation.number]
    return max(again, key=lambda g: g.number, default=generation)


def _origin(generation: Generation, by_number: Mapping[int, Generation], bundle: str = "") -> Generation:
    while (number := generation.restores or generation.bundle_restores.get(bundle, 0)) in by_number:
        generation = by_number[number]
    return generation


def _went_back(generation: Generation) -> bool:
    return bool(generation.restores or generation.bundle_restores)
