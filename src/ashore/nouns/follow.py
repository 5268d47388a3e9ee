# SPDX-License-Identifier: Apache-2.0
"""What following tags remembers between two rounds, and what a round finds."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.digest import Digest

EVERY = 900.0
"""Seconds between two rounds where nobody says."""


class Paused(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody follows until somebody resumes, or `until` has come. UTC, RFC 3339."""

    since: str
    until: str = ""


class Following(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`known`: of an installer image's index the digest of the bundle in it, so that it is asked for once."""

    paused: Paused | None = None
    known: Mapping[Digest, Digest] = {}


class Finding(StrEnum):
    SAME = "same"
    NEW = "new"
    HELD = "held"
    """It failed here or was taken back: it is not tried again."""
    PINNED = "pinned"
    """Its reference names a digest, which never moves."""
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    """It is new, and could not be installed."""
    SKIPPED = "skipped"
    """It is new, and what happened meanwhile spoke against it, or a later round tries it by itself; or its image was a
    file that is no longer there."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle's reference names now."""

    bundle: str
    reference: str
    finding: Finding
    digest: Digest = Digest("")
    why: str = ""
