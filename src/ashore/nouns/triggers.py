# SPDX-License-Identifier: Apache-2.0
"""Triggers: what a host does by itself when certain paths change, as it stands in plans, journals and records."""

from enum import StrEnum

import msgspec


class Undo(StrEnum):
    """What going back makes of it."""

    REVERSIBLE = "reversible"
    """The old values are put back."""
    DERIVED = "derived"
    """It runs again, on the old files."""
    LASTING = "not reversible"
    """What it did stays."""


class When(StrEnum):
    """When it runs."""

    EARLY = "before files are placed"
    AFTER = "after files are placed"
    BOOT = "at the next boot"
    """An offline root: its systemd does it by itself."""
    DUE = "with the first ashore on the booted host"
    """An offline root: nobody does it by itself."""
    NEVER = "not on this host"


class Setting(msgspec.Struct, frozen=True, array_like=True):
    """A value of the running kernel, by its path below the root: ``proc/sys/net/ipv4/ip_forward``."""

    path: str
    value: str


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """A program of the host with its arguments, and what it reads."""

    argv: tuple[str, ...]
    stdin: str = ""
    judged: tuple[str, ...] | None = None
    """Files of bundles among all that it reads: only what they say can make it fail. None: whatever it says can."""


class Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reaction to changed paths, with its inverse in it."""

    kind: str
    """``sysctl``, ``tmpfiles`` and so on (docs/explanation/restarts-and-triggers.md)."""
    reason: str
    when: When
    undo: Undo
    run: tuple[Command, ...] = ()
    back: tuple[Command, ...] = ()
    """Run after the old files are back."""
    sets: tuple[Setting, ...] = ()
    """Written before `run`."""
    before: tuple[Setting, ...] = ()
    """As they were: written when going back, within the same boot."""
    makes: tuple[str, ...] = ()
    """Paths that are not there and that it makes: removed when going back. Of folders, the empty ones."""
    clears: tuple[str, ...] = ()
    """Folders that an earlier run made, and that go with what asked for them, if they are empty."""
    effects: tuple[str, ...] = ()
    """What it comes to, for a reader: ``net.ipv4.ip_forward = 1 (now 0)``."""
