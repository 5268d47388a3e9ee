# SPDX-License-Identifier: Apache-2.0
"""What is watched on after a change: one file on a tmpfs, for the service that watches and for who asks."""

import contextlib
import os

import msgspec

from ashore.mechanisms.pid1.handover import FOLDER
from ashore.nouns.late import Late

_NAME = "late.json"


def leave(root: str, late: Late) -> None:
    """Have this watched from now on.

    Raises:
        OSError: it cannot be written.
    """
    path = os.path.join(root, FOLDER, _NAME)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.encode(late))
    os.rename(f"{path}.new", path)


def read(root: str) -> Late | None:
    """What is watched, or was; None where nothing is."""
    try:
        with open(os.path.join(root, FOLDER, _NAME), "rb") as file:
            return msgspec.json.decode(file.read(), type=Late)
    except (OSError, msgspec.MsgspecError):
        return None


def drop(root: str) -> None:
    """Nothing is watched any more."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(root, FOLDER, _NAME))
