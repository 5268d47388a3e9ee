# SPDX-License-Identifier: Apache-2.0
"""Why a change that should have gone back by itself did not, as last tried: one file on a tmpfs, for who asks."""

import contextlib

import msgspec

from ashore.mechanisms.pid1 import notes

_NAME = "stuck.json"


class _Stuck(msgspec.Struct, frozen=True):
    transaction: str
    reason: str


def leave(root: str, transaction: str, reason: str) -> None:
    """Leave it in place of an older one; where it cannot be written, the journal has it."""
    with contextlib.suppress(OSError):
        notes.leave(root, _NAME, _Stuck(transaction, reason))


def reason(root: str, transaction: str) -> str:
    """Why the change `transaction` did not go back; empty where nothing is said of it."""
    found = notes.read(root, _NAME, _Stuck)
    return found.reason if found is not None and found.transaction == transaction else ""


def drop(root: str) -> None:
    """It need not go back any more."""
    notes.drop(root, _NAME)
