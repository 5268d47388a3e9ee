# SPDX-License-Identifier: Apache-2.0
"""Forgetting the past on request: older generations, edits that were moved aside, or everything."""

import contextlib
from collections.abc import Iterator

from ashore.acts.tools import Tools
from ashore.acts.transaction.collect import Pruned, collect
from ashore.acts.transaction.recover import recover
from ashore.errors import UnchangedError, reason_of


def prune(tools: Tools, keep: int | None = None, *, discard_edits: bool = False) -> Pruned:
    """Drop all but the newest `keep` generations, and what only they need.

    Raises:
        UnchangedError: the disk refused; the host's files are as they were.
    """
    if tools.state.fd is None:
        return Pruned(generations=(), freed=0)
    with forgetting(), tools.state.locked():
        recover(tools)
        return collect(tools, keep, discard_edits=discard_edits)


def purge(tools: Tools) -> None:
    """Drop all but the current generation.

    Raises:
        UnchangedError: the disk refused; the host's files are as they were.
    """
    with forgetting(), tools.state.locked():
        collect(tools, keep=1, discard_edits=True)


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """What the disk refuses, in words: only ashore's own state is touched here."""
    try:
        yield
    except OSError as error:
        raise UnchangedError(
            "not everything could be dropped; the host's files are as they were",
            cause=reason_of(error),
            remedy="put right what is named, then run: ashore prune",
        ) from error
