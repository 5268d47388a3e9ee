# SPDX-License-Identifier: Apache-2.0
"""What is watched on after a change: one file on a tmpfs, for the service that watches and for who asks."""

from ashore.mechanisms.pid1 import notes
from ashore.nouns.late import Late

_NAME = "late.json"


def leave(root: str, late: Late) -> None:
    """Have this watched from now on.

    Raises:
        OSError: it cannot be written.
    """
    notes.leave(root, _NAME, late)


def read(root: str) -> Late | None:
    """What is watched, or was; None where nothing is."""
    return notes.read(root, _NAME, Late)


def drop(root: str) -> None:
    """Nothing is watched any more."""
    notes.drop(root, _NAME)
