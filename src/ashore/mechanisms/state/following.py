# SPDX-License-Identifier: Apache-2.0
"""What following tags remembers, in the state folder: written by who holds the lock."""

from ashore.mechanisms import durable
from ashore.mechanisms.state.state import State
from ashore.nouns.follow import Following

_NAME = "follow.json"
_LIMIT = 1 << 20


def read(state: State) -> Following:
    """What was remembered; nothing on a host that never followed.

    Raises:
        ChangedError: the file is damaged.
    """
    if state.fd is None:
        return Following()
    try:
        data = durable.read_all(state.fd, _NAME, _LIMIT)
    except FileNotFoundError:
        return Following()
    return durable.unseal(data, Following, _NAME)


def write(state: State, following: Following) -> None:
    """Remember this from now on."""
    base = state.prepare()
    if following == Following():
        durable.remove(base, _NAME)
    else:
        durable.replace(base, _NAME, durable.seal(following))
