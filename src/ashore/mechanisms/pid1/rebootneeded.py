# SPDX-License-Identifier: Apache-2.0
"""Why the host has to be booted before all that was changed is in effect: until it is, for who asks.

Beside ashore's own note lies ``/run/reboot-required``, which Debian's tools and kured look for.
"""

import os
from collections.abc import Sequence

import msgspec

from ashore.mechanisms.pid1 import notes

SIGN = "run/reboot-required"
_NAME = "reboot.json"


class _Needed(msgspec.Struct, frozen=True):
    reasons: tuple[str, ...]


def need(root: str, why: Sequence[str]) -> None:
    """Note it beside what was noted before. Both lie on a tmpfs: a boot takes them away.

    Raises:
        OSError: it cannot be written.
    """
    notes.leave(root, _NAME, _Needed(tuple(dict.fromkeys((*reasons(root), *why)))))
    with open(os.path.join(root, SIGN), "a", encoding="ascii") as sign:
        if not sign.tell():
            sign.write("*** System restart required ***\n")


def reasons(root: str) -> tuple[str, ...]:
    """What was noted since the last boot."""
    found = notes.read(root, _NAME, _Needed)
    return found.reasons if found is not None else ()
