# SPDX-License-Identifier: Apache-2.0
"""Small notes between processes of one boot, on a tmpfs: each is there whole or not at all, and durable never."""

import contextlib
import os
from typing import TypeVar

import msgspec

from ashore.errors import NOT_DECODED

FOLDER = "run/ashore"
"""0700, on a tmpfs: requests on their way to a service lie there as well, and may hold secrets."""

T = TypeVar("T")


def leave(root: str, name: str, note: msgspec.Struct) -> None:
    """Leave a note, in place of an older one of that name.

    Raises:
        OSError: it cannot be written; an older one stays.
    """
    path = _place(root, name)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.encode(note))
    os.rename(f"{path}.new", path)


def read(root: str, name: str, type_: type[T]) -> T | None:
    """The note of that name; None where there is none, or none that can be read."""
    try:
        with open(_place(root, name), "rb") as file:
            return msgspec.json.decode(file.read(), type=type_)
    except (OSError, *NOT_DECODED):
        return None


def drop(root: str, name: str) -> None:
    """Take a note away, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(_place(root, name))


def _place(root: str, name: str) -> str:
    return os.path.join(root, FOLDER, name)
