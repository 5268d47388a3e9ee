# SPDX-License-Identifier: Apache-2.0
"""What a service of PID 1 answers to somebody who does not follow it to its end: a code and a line, on a tmpfs."""

import contextlib
import os

import msgspec

from ashore.mechanisms.pid1.handover import FOLDER

_NAME = "answer.json"


class Answer(msgspec.Struct, frozen=True):
    """How it went so far."""

    code: int
    text: str


def leave(root: str, code: int, text: str) -> None:
    """Leave an answer; where it cannot be written, the journal has it."""
    with contextlib.suppress(OSError):
        path = os.path.join(root, FOLDER, _NAME)
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(Answer(code, text)))
        os.rename(f"{path}.new", path)


def take(root: str) -> Answer | None:
    """The answer, if one was left; it is gone afterwards."""
    path = os.path.join(root, FOLDER, _NAME)
    try:
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        return msgspec.json.decode(data, type=Answer)
    except (OSError, msgspec.MsgspecError):
        return None
