# SPDX-License-Identifier: Apache-2.0
"""What a service of PID 1 answers to somebody who cannot hear it: a code and a line, on a tmpfs.

Nobody follows it to its end; or it was killed, and what the second start says goes to the journal.
"""

import contextlib

import msgspec

from ashore.mechanisms.pid1 import notes

_NAME = "answer.json"


class Answer(msgspec.Struct, frozen=True):
    """How it went so far."""

    code: int
    text: str


def leave(root: str, code: int, text: str, name: str = _NAME) -> None:
    """Leave an answer; where it cannot be written, the journal has it."""
    with contextlib.suppress(OSError):
        notes.leave(root, name, Answer(code, text))


def take(root: str, name: str = _NAME) -> Answer | None:
    """The answer, if one was left; it is gone afterwards."""
    answer = notes.read(root, name, Answer)
    notes.drop(root, name)
    return answer
