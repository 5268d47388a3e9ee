# SPDX-License-Identifier: Apache-2.0
"""The host's policy.json: what its owner admits, whoever asks."""

from ashore.errors import InputError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.ifthere import read_if_there
from ashore.nouns.config import POLICY_PATH
from ashore.nouns.limits import Limits
from ashore.rules.images.verify import Policy, parse_policy


def policy_of(host: Beneath, limits: Limits) -> Policy | None:
    """None only where there is no such name: a policy that cannot be read must not admit everything.

    Raises:
        InputError: it cannot be read, or is malformed.
    """
    try:
        data = read_if_there(host, POLICY_PATH, limits.manifest)
    except OSError as error:
        raise InputError(f"cannot read {POLICY_PATH}", cause=error.strerror or "") from error
    return None if data is None else parse_policy(data, POLICY_PATH)


def load_policy(root: str, limits: Limits) -> Policy | None:
    """That of the host at `root`, as `policy_of` has it."""
    with Beneath(root) as host:
        return policy_of(host, limits)
