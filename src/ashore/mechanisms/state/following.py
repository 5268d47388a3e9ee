# SPDX-License-Identifier: Apache-2.0
"""What following tags remembers, in the state folder: written by who holds the lock."""

from ashore.mechanisms.state.state import State
from ashore.nouns.follow import Following

_NAME = "follow.json"
_LIMIT = 1 << 20


def read(state: State) -> Following:
    """What was remembered; nothing on a host that never followed.

    Raises:
        ChangedError: the file is damaged.
    """
    return state.read(_NAME, Following, _LIMIT) or Following()


def write(state: State, following: Following) -> None:
    """Remember this from now on."""
    state.write(_NAME, following if following != Following() else None)
