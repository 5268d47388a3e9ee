# SPDX-License-Identifier: Apache-2.0
"""Old generations go, and the contents that only they needed. Interrupted at any point, it is done the next time."""

import msgspec

from ashore.acts.tools import Tools
from ashore.acts.transaction.late import watched_now
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.journal import Edit
from ashore.rules.files import retention


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was dropped."""

    generations: tuple[int, ...]
    freed: int
    """Bytes."""


def collect(tools: Tools, keep: int | None = None, *, discard_edits: bool = False) -> Pruned:
    """Keep the newest `keep` generations (default: the configuration's) and what they need. The lock is held.

    An administrator's edit outlives the generation that moved it aside, unless `discard_edits`: that gives up those
    of kept generations as well, which a rollback then brings back without them.
    """
    history = tools.history
    current = history.current()
    recorded = list(history.all())
    stay = retention.kept(recorded, current.number, read_config(tools.host).keep if keep is None else keep)
    backs = [back.back for back in (history.provisional(), watched_now(tools)) if back is not None]
    if backs:  # it may have to come back, with every edit that was moved aside since
        stay = sorted({*stay, *(g.number for g in recorded if g.number >= min(backs))})
    gone = [g.number for g in recorded if g.number not in stay]
    discarded = history.discarded()
    if discard_edits and current.number > discarded:
        history.discard_edits(discarded := current.number)
    edits: tuple[Edit, ...] = () if discard_edits else _edits(tools, [n for n in gone if n > discarded])
    if edits != history.edits():
        history.keep_edits(edits)
    for number in gone:
        history.drop(number)
    staying = [g for g in recorded if g.number in stay]
    needed = retention.needed(staying, current, edits, discarded)
    Secrets(tools.state).retain(retention.secrets_of(staying))
    return Pruned(generations=tuple(gone), freed=tools.content.retain(needed))


def _edits(tools: Tools, gone: list[int]) -> tuple[Edit, ...]:
    known = {edit.key: edit for edit in tools.history.edits()}
    for number in gone:
        for edit in retention.edits_of(tools.history.read(number)):
            known[edit.key] = edit
    return tuple(known.values())
