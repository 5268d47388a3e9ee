# SPDX-License-Identifier: Apache-2.0
"""`etc/ashore/config.toml`: what the host's owner wants of ashore."""

from enum import StrEnum

import msgspec

from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.window import Window

CONFIG_PATH = "etc/ashore/config.toml"
VALUES_FOLDER = "etc/ashore/values.d"
STATE_FOLDER = "var/lib/ashore"
POLICY_PATH = "etc/containers/policy.json"
"""Not ashore's own: what images the host's owner admits, containers-policy.json(5)."""


class Pull(StrEnum):
    """Kubernetes' words."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


class HostConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's keys. `keep` is generations, `random_delay` seconds."""

    bundles: tuple[str, ...] = ()
    pull: Pull = Pull.MISSING
    keep: int = 3
    window: tuple[Window, ...] = ()
    random_delay: float = 0.0
    limits: Limits = DEFAULT
