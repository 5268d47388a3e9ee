# SPDX-License-Identifier: Apache-2.0
"""What is held: the images that failed or were left, which no automatic path installs again."""

from collections.abc import Mapping, Sequence

from ashore.acts.change.noop import named_digest
from ashore.acts.change.wishes import Target
from ashore.acts.tools import Tools
from ashore.errors import AshoreError, UnitsFailedError, without_promise
from ashore.nouns.ask import Ask
from ashore.nouns.generation import BundleRecord, Generation, Verb
from ashore.nouns.journal import Held
from ashore.nouns.plan import Plan
from ashore.rules.blame import to_blame

_REMEDY = "the image is held: it is installed again only by a new tag or an explicit install"


def held_back(tools: Tools, ask: Ask, record: BundleRecord | None) -> tuple[str, Held] | None:
    """Why what a reference names now is not installed by itself, in words too; None if nothing speaks against it.

    Raises:
        AshoreError: as `ImageReader.resolve`.
    """
    held = tools.history.held()
    if not held:
        return None
    digest = named_digest(tools, ask)
    if digest not in held or (record is not None and record.digest == digest):
        return None
    return f"{digest} is held ({held[digest].reason})", held[digest]


def hold(tools: Tools, verb: Verb, plan: Plan, current: Generation, error: AshoreError) -> None:
    """Of a change that failed: no automatic path tries its new images again, and the error says so."""
    what = "units failed" if isinstance(error, UnitsFailedError) else "a validator refused it"
    reason = f"{what}: {error.issues[0]}" if error.issues else without_promise(error)
    new = _changed_bundles(plan, current)
    if not new:  # a removal, or a repair
        return
    error.remedy = error.remedy or _REMEDY
    # A round of `follow` tries each by itself next, and so finds out.
    blamed = frozenset() if verb is Verb.FOLLOW else to_blame(error.issues, new, plan.files)
    tools.history.hold(_held(tools, tools.history.held(), new, reason, blamed))


def _changed_bundles(plan: Plan, current: Generation) -> tuple[BundleRecord, ...]:
    before = {b.digest for b in current.bundles}
    return tuple(b for b in plan.bundles if b.digest not in before)


def held_after(tools: Tools, plan: Plan, target: Target, taken_back: str) -> Mapping[str, Held]:
    """Who installs a held digest by name has asked for it; what a rollback leaves behind is held.

    Nothing is held any longer that a tag was seen to have left: what is installed is what it names now.
    """
    free = {bundle.digest for bundle in plan.bundles}
    named = {part.record.reference for part in target.parts if part.named}
    held: dict[str, Held] = {
        d: h for d, h in tools.history.held().items() if d not in free and h.reference not in named
    }
    return _held(tools, held, target.let_go, taken_back or "rolled back", target.to_blame)


def _held(
    tools: Tools,
    held: Mapping[str, Held],
    records: Sequence[BundleRecord],
    reason: str,
    blamed: frozenset[str] | None,
) -> Mapping[str, Held]:
    """What was held, and these; of several only those are held for good that are `blamed`, where that is known."""
    held = dict(held)
    for r in records:
        alone = len(records) > 1 and blamed is not None and r.name not in blamed
        why = f"went back with others: {reason}" if alone else reason
        held[r.digest] = Held(bundle=r.name, reference=r.reference, reason=why, time=tools.now(), alone=alone)
    return held
