# SPDX-License-Identifier: Apache-2.0
"""A change that is kept already, and goes back all the same if what it started fails before its time is over."""

import msgspec

from ashore.nouns.bundle import Health
from ashore.nouns.units import UnitState


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was healthy, and until when it has to stay so."""

    health: Health
    until: float
    """Seconds since the machine booted."""
    patience: float
    """So many seconds without a good answer of its probe are a failure."""
    state: UnitState | None = None
    """Its unit, as the change left it."""
    why: str = ""
    """Why it is watched, where that is not plain."""
    again: float = 0.0
    """When another change that went back had brought it up again, in seconds since the machine booted."""


class Late(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is watched on after a change, on a tmpfs: a boot ends it, and the change stays."""

    transaction: str
    generation: int
    back: int
    """The generation that comes back; 0 is the host before ashore."""
    boot: str
    since: float
    """When its units were started, in seconds since the machine booted."""
    until: str
    """UTC, RFC 3339. For people."""
    subjects: tuple[Subject, ...]
    instead_of: str = ""
    """The transaction that was watched before, if one was."""

    @property
    def unit(self) -> str:
        """What watches."""
        return watch_unit(self.transaction)


def watch_unit(transaction: str) -> str:
    """The service that watches what `transaction` started."""
    return f"ashore-watch-{transaction}.service"
