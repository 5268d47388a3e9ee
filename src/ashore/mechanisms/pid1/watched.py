# SPDX-License-Identifier: Apache-2.0
"""What is watched on after a change: one file on a tmpfs, for the service that watches and for who asks."""

import contextlib
import os

import msgspec

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
    try:
        with open(notes.place(root, _NAME), "rb") as file:
            return msgspec.json.decode(file.read(), type=Late)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def drop(root: str) -> None:
    """Nothing is watched any more."""
    with contextlib.suppress(OSError):
        os.unlink(notes.place(root, _NAME))
