# SPDX-License-Identifier: Apache-2.0
"""Small notes between processes of one boot, on a tmpfs: each is there whole or not at all, and durable never."""

import os

import msgspec

from ashore.mechanisms.pid1.handover import FOLDER


def place(root: str, name: str) -> str:
    """Where the note of that name lies."""
    return os.path.join(root, FOLDER, name)


def leave(root: str, name: str, note: msgspec.Struct) -> None:
    """Leave a note, in place of an older one of that name.

    Raises:
        OSError: it cannot be written; an older one stays.
    """
    path = place(root, name)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.encode(note))
    os.rename(f"{path}.new", path)
