# SPDX-License-Identifier: Apache-2.0
"""What the audit log says of a transaction, whoever ended it."""

import contextlib
from collections.abc import Sequence

from ashore.acts.tools import Tools
from ashore.errors import Issue
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Begun


def tell_of_generation(tools: Tools, generation: Generation) -> None:
    """Write down that a transaction made this generation; once, however often it is finished."""
    line = {
        "time": generation.time,
        "transaction": generation.transaction,
        "generation": generation.number,
        "verb": generation.verb,
        "bundles": {b.name: {"version": b.version, "digest": b.digest} for b in generation.bundles},
        "displaced": {path: entry.digest for path, entry in generation.displaced.items()},
    }
    tools.history.audit(line)


def tell_of_failure(tools: Tools, begun: Begun, why: str, issues: Sequence[Issue]) -> None:
    """Write down that a transaction went back; `issues` are what did not."""
    line = {
        "time": tools.now(),
        "transaction": begun.transaction,
        "generation": tools.history.current_number() or 0,
        "verb": begun.verb,
        "failed": "; ".join([why, *(f"not brought back: {issue}" for issue in issues)]),
    }
    with contextlib.suppress(OSError):  # the host is as it was, whether that can be written down or not
        tools.history.audit(line)
