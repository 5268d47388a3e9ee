# SPDX-License-Identifier: Apache-2.0
"""What administrators had made of a generation when the next one came: a rollback brings that back as well. Pure."""

from collections.abc import Collection, Mapping

from ashore.nouns.files import Entry
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Edit


def edits_when_left(
    left: Generation, recorded: Collection[Generation], edits: Collection[Edit]
) -> Mapping[str, Entry | None]:
    """By path: the edit that lay there when the generation after `left` came; None where somebody had deleted it.

    That one moved it aside (`displaced`, or `edits` where it is not kept any more, or where somebody wrote until
    the last moment), or left it alone and noted what it found.
    """
    edits = [edit for edit in edits if not edit.original]
    after = {g.number: g for g in recorded if g.number > left.number}
    number = min({*after, *(e.generation for e in edits if e.generation > left.number)}, default=0)
    following = after.get(number)
    found: dict[str, Entry | None] = {edit.path: edit.entry for edit in edits if edit.generation == number}
    if following is not None:
        found = dict(following.displaced) | dict.fromkeys(following.gone) | found
    for path, record in left.files.items():
        later = following.files.get(path) if following is not None else None
        if path in found or later is None:
            continue
        if later.found is not None or later.deleted or record.deleted:
            found[path] = later.lay  # Deleted once and there again, by hand, it is as the record has it.
    return {path: entry for path, entry in found.items() if path in left.files}
