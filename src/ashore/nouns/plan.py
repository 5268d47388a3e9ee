# SPDX-License-Identifier: Apache-2.0
"""A change as a value, before it is an act: printable, JSON, testable, and the only thing that is applied."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.bundle import BundleStep
from ashore.nouns.confirm import Confirm
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry
from ashore.nouns.generation import BundleRecord, FileRecord, Generation
from ashore.nouns.triggers import Trigger
from ashore.nouns.units import UnitAction


class Action(StrEnum):
    CREATE = "create"
    REPLACE = "replace"
    REMOVE = "remove"
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    CHANGE_DIR = "change-dir"
    """Mode, owner or xattrs of a folder that ashore made."""


class Step(msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """One path's change, with its inverse in it: `old` lies there now, `new` shall."""

    action: Action
    path: str
    bundle: str = ""
    old: Entry | None = None
    new: Entry | None = None
    secret: bool = False
    edited: bool = False
    """`old` is an administrator's own content: it stays in the store until it is discarded."""
    merged: bool = False
    """`new` is the bundle's version and the edit of this host in one."""
    note: str = ""


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A path that differs from what the bundle wants and is left alone."""

    path: str
    bundle: str
    verdict: str
    """``edited`` or ``deleted``."""
    pending: bool = False
    """A new version waits in the store."""
    reason: str = ""
    """Why it was not merged, where that was asked for."""


class Conflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A path that somebody has to decide on before anything changes."""

    path: str
    bundle: str
    owner: str
    """Who has it: ``bundle NAME``, ``package NAME``, ``nobody``, ``a mount``."""
    message: str
    remedy: str


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a bundle that this plan runs, or would run to undo one."""

    bundle: str
    step: BundleStep
    old_version: str = ""
    new_version: str = ""

    @property
    def name(self) -> str:
        """For people, and for the journal."""
        return f"{self.bundle}/{self.step.name}"


class When(StrEnum):
    """When a program can look at what is new."""

    STAGED = "staged"
    """Before anything on the host changes."""
    PLACED = "placed"
    """All is in place, and no unit has read it yet."""


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program that must accept new content, or all goes back; ``{path}`` stands for the file."""

    command: tuple[str, ...]
    paths: tuple[str, ...]
    when: When
    units: bool = False
    """It verifies shipped units, which nobody had to ask for."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that would happen, and the record it would leave."""

    steps: tuple[Step, ...] = ()
    kept: tuple[Kept, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    stops: tuple[UnitAction, ...] = ()
    """Before the swap."""
    actions: tuple[UnitAction, ...] = ()
    """After the swap, in order."""
    daemon_reload: bool = False
    commands: tuple[PlannedStep, ...] = ()
    """Steps of bundles, by phase. On an offline root none is run."""
    triggers: tuple[Trigger, ...] = ()
    """In order: what comes before the files first."""
    settings: Mapping[str, str] = {}
    made: Mapping[str, str] = {}
    """What the generation that this leads to records of triggers."""
    started: tuple[str, ...] = ()
    """And of units of the host."""
    gave_way: Mapping[str, str] = {}
    """And of those that are down since one of a bundle conflicts with them, each with that one."""
    reboot: tuple[str, ...] = ()
    """Why not all of it is in effect before the next boot: said, never done."""
    notes: tuple[str, ...] = ()
    """What the reader should know: masks, setuid files, skipped checks."""
    before: tuple[BundleRecord, ...] = ()
    """The bundles of the generation that it starts from."""
    bundles: tuple[BundleRecord, ...] = ()
    files: Mapping[str, FileRecord] = {}
    """The record of the generation that this plan leads to; stats are those of untouched paths."""
    originals: Mapping[str, Entry] = {}
    """What was there before ashore and cannot come back any more."""
    gone: tuple[str, ...] = ()
    """Recorded paths that somebody had deleted, and that are brought back or dropped."""
    checks: tuple[Check, ...] = ()
    """Which programs of the host must accept what is new."""
    confirm: Confirm | None = None
    """It has to be confirmed from outside, else it is taken back."""

    @property
    def empty(self) -> bool:
        """Nothing to do on the host; whether the record changes is another question."""
        return not (self.steps or self.conflicts or self.stops or self.actions or self.daemon_reload or self.triggers)

    @property
    def contents(self) -> set[Digest]:
        """All that carrying it out needs."""
        return {step.new.digest for step in self.steps if step.new is not None and step.new.digest}

    @property
    def changes(self) -> bool:
        """Whether carrying it out changes the host, or what is recorded of its bundles."""
        return not self.empty or self.bundles != self.before

    def touched(self, previous: Generation) -> frozenset[str]:
        """The bundles that this plan is about: those with a step, and those of another version or with other values."""
        changed = {b.name for b in self.bundles if b != previous.bundle(b.name)}
        return frozenset(changed | {step.bundle for step in self.steps})
