# SPDX-License-Identifier: Apache-2.0
"""What a service of PID 1 answers to somebody who does not follow it to its end: a code and a line, on a tmpfs."""

import contextlib

import msgspec

from ashore.mechanisms.pid1 import notes

_NAME = "answer.json"


class Answer(msgspec.Struct, frozen=True):
    """How it went so far."""

    code: int
    text: str


def leave(root: str, code: int, text: str) -> None:
    """Leave an answer; where it cannot be written, the journal has it."""
    with contextlib.suppress(OSError):
        notes.leave(root, _NAME, Answer(code, text))


def take(root: str) -> Answer | None:
    """The answer, if one was left; it is gone afterwards."""
    answer = notes.read(root, _NAME, Answer)
    notes.drop(root, _NAME)
    return answer
