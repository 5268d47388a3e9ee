# SPDX-License-Identifier: Apache-2.0
"""How a story ended."""

import msgspec

from ashore.nouns.confirm import Provisional
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Recovered
from ashore.nouns.plan import Plan


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a story ended: what was done, and the generation that holds now."""

    plan: Plan
    generation: Generation
    changed: bool
    """A new generation was made."""
    recovered: Recovered = Recovered.NOTHING
    waiting: Provisional | None = None
    """The generation waits for confirmation."""


def nothing_done(current: Generation) -> Outcome:
    """How a story ended that had nothing to do."""
    return Outcome(plan=Plan(), generation=current, changed=False)
