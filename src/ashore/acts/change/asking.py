# SPDX-License-Identifier: Apache-2.0
"""From what is installed to what is asked for; and the quick answer where there is nothing to do."""

from collections.abc import Sequence

import msgspec

from ashore.acts.change.noop import is_gone, nothing_to_do
from ashore.acts.change.outcome import Outcome, nothing_done
from ashore.acts.tools import Tools
from ashore.errors import UsageError
from ashore.nouns import reference
from ashore.nouns.ask import Ask
from ashore.nouns.files import printable
from ashore.nouns.generation import BundleRecord, Generation


def unchanged(tools: Tools, asks: Sequence[Ask], *, without_gone: bool = False) -> Outcome | None:
    """The quick answer where there is nothing to do; None where that takes a closer look."""
    if not nothing_to_do(tools, asks, without_gone=without_gone):
        return None
    for ask in (a for a in asks if is_gone(a.reference)):
        tools.progress.say(f"{ask.name}: {printable(ask.written)} is no longer there; the bundle stays as it is")
    return nothing_done(tools.history.current())


def upgrades(current: Generation, names: Sequence[str], given: Ask) -> list[Ask]:
    """The recorded references of `names` (all, if none), to be resolved again with `given`'s values.

    Raises:
        UsageError: a bundle is not installed, or none is.
    """
    records = [installed(current, name) for name in names] if names else list(current.bundles)
    if not records:
        raise UsageError("no bundle is installed", remedy="ashore install IMAGE")
    return [
        msgspec.structs.replace(
            given,
            reference=reference.parse(record.reference),
            written=record.reference,
            root_in_image=record.root_in_image,
            name=record.name,
        )
        for record in records
    ]


def installed(current: Generation, name: str) -> BundleRecord:
    """The record of an installed bundle.

    Raises:
        UsageError: there is none of that name.
    """
    record = current.bundle(name)
    if record is None:
        there = ", ".join(b.name for b in current.bundles) or "none"
        raise UsageError(f"no bundle named {name} is installed", remedy=f"installed: {there}")
    return record
