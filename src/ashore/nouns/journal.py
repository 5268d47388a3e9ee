# SPDX-License-Identifier: Apache-2.0
"""What a transaction writes down before it acts: enough to go back, or forward, knowing nothing else."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.confirm import Provisional
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, parent
from ashore.nouns.generation import Verb
from ashore.nouns.plan import PlannedStep, Step
from ashore.nouns.triggers import Command, Trigger
from ashore.nouns.units import UnitAction, UnitState

OWN_FOLDER = ".ashore"
"""At the top of each mount that a transaction touches, but the state's."""


class Area(msgspec.Struct, frozen=True):
    """A staging folder: its physical path, on the mount whose paths it serves."""

    path: str

    @property
    def mount(self) -> str:
        """Where that is mounted; empty for the root's own mount, and the state's: without it nobody reads this."""
        base = parent(self.path)
        return parent(base) if base.rpartition("/")[2] == OWN_FOLDER else ""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Written before anything is created. `boot` is the boot id: a unit's "was running" holds within one boot."""

    transaction: str
    verb: Verb
    boot: str
    areas: tuple[Area, ...] = ()
    after: int = 0
    """The generation that held when it began: whatever is numbered higher and was not judged did not happen."""


class StagedStep(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A step, where its other inode is, and which inode is the new one.

    `name` in area `area` holds the new inode before the swap, the displaced one after it. Recovery looks
    at what lies where, never at how far it had come. A new folder with a name is placed with all that is in it.
    """

    step: Step
    area: int
    name: str
    inode: int = 0
    carried: bool = False
    """It lies in a new folder, and comes to its place with that."""
    label: str = ""
    """The SELinux label of what the step makes, or for a removed folder its inverse; empty where there is no policy."""


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """Written when everything is staged and synced, before the first host path changes."""

    steps: tuple[StagedStep, ...]
    stops: tuple[UnitAction, ...] = ()
    actions: tuple[UnitAction, ...] = ()
    daemon_reload: bool = False
    triggers: tuple[Trigger, ...] = ()
    commands: tuple[PlannedStep, ...] = ()
    """Steps of bundles: those that would undo one are among them."""
    units: Mapping[str, UnitState] = {}
    """As they were before the first stop."""
    running: tuple[str, ...] | None = None
    """All units that ran then, or were about to; None where no unit is acted on, or by an older ashore."""
    notes_units: bool = False
    """It is noted when units begin to be acted on: an older ashore did not."""


class Due(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command that waits for a booted host."""

    what: str
    """``ldconfig``, or a step of a bundle, for people."""
    command: Command
    since: str
    """The transaction that left it."""
    seconds: float = 0.0
    environment: tuple[tuple[str, str], ...] = ()


class Held(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A digest that no automatic path installs again."""

    bundle: str
    reference: str
    reason: str
    time: str
    alone: bool = False
    """It went back with others, and nothing says that it was to blame: a round of `follow` tries it by itself."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The point of no return: before it recovery goes back, after it forward, to this generation."""

    generation: int
    held: Mapping[str, Held] = {}
    """All digests that are held from then on."""
    provisional: Provisional | None = None
    """What waits for confirmation from then on."""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """All that was written of an unfinished transaction."""

    begun: Begun
    staged: Staged | None = None
    verdict: Verdict | None = None
    ran: tuple[str, ...] = ()
    """Steps in the phase before that were begun, in order, by `PlannedStep.name`."""
    units_begun: bool = True
    """Units may have been acted on after the swap; False: none was."""


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """An administrator's content that a transaction moved aside."""

    path: str
    digest: Digest
    generation: int
    entry: Entry
    original: bool = False
    """It was there before ashore, and could not come back: no generation ever held it."""

    @property
    def key(self) -> str:
        """It is kept under."""
        return f"{self.generation}:{self.path}" + ("//original" if self.original else "")


class Recovered(StrEnum):
    """What recovery found."""

    NOTHING = "nothing"
    BACK = "went back to the old generation"
    FORWARD = "finished the new generation"
