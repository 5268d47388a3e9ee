# SPDX-License-Identifier: Apache-2.0
"""The recorded result of a transaction: host-wide, numbered, never changed."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.bundle import BundleStep, Health
from ashore.nouns.confirm import Confirm
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, OnEdit, Stat


class Verb(StrEnum):
    INSTALL = "install"
    UPGRADE = "upgrade"
    REMOVE = "remove"
    ROLLBACK = "rollback"
    FOLLOW = "follow"
    """An upgrade by itself, since a tag had moved."""
    REPAIR = "repair"
    TAKE = "take"
    """A new version that waited was placed: ``pending take``."""
    KEEP = "keep"
    """An edit was said to be right, so that no version waits: ``pending keep``."""


class SetValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value given by --set: itself, or the salted hash of a secret one (the value is in the secret store)."""

    value: object | None = None
    secret: str = ""


class BundleRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One installed bundle."""

    name: str
    version: str
    reference: str
    digest: Digest
    manifest_digest: Digest
    inputs: str
    """Hash over the facts and values that rendering used: equal means rendering again gives the same."""
    facts_used: tuple[str, ...] = ()
    """Dotted names, e.g. ``network.default.ipv4``."""
    values_used: tuple[str, ...] = ()
    sets: Mapping[str, SetValue] = {}
    units: tuple[str, ...] = ()
    """Shipped units."""
    enabled: tuple[str, ...] = ()
    """Units that the bundle wants enabled and running."""
    health: tuple[Health, ...] = ()
    steps: tuple[BundleStep, ...] = ()
    root_in_image: str = ""
    confirm: Confirm | None = None
    """What the bundle declares."""
    source: Digest = Digest("")
    """The content that it is rendered again from; none where an older ashore installed it."""


class FileRecord(msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """One path that ashore answers for.

    `entry` is the bundle's version. `base` is the version that an edit was made of, where that is an older
    one (the edit was kept, so `entry` waits). `put` is what ashore itself laid there, where that holds an edit
    as well: a merge, or an edit that a rollback brought back. `found` is what somebody else had made of it by
    then, where that was left; `stat` belongs to what lay there, None if nothing did. `original` was there before
    ashore.
    """

    bundle: str
    entry: Entry
    base: Entry | None = None
    put: Entry | None = None
    found: Entry | None = None
    deleted: bool = False
    """The administrator removed it, and it stays removed."""
    stat: Stat | None = None
    original: Entry | None = None
    others: Mapping[str, Entry] = {}
    """Of a folder, or a symlink that enables a unit: the other bundles that have it as well, each with what it says."""
    through: tuple[str, ...] = ()
    """Symlinks of the host that led to the path from where the bundle has it; an earlier ashore did not note them."""
    secret: bool = False
    on_edit: OnEdit = OnEdit.KEEP
    validate: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    @property
    def placed(self) -> Entry:
        """The bundle's version that what lies there was made of: edits are told, and merged, by it."""
        return self.base or self.entry

    @property
    def ours(self) -> tuple[Entry, ...]:
        """What ashore made itself of what lies there, which edits are told from: the version, and a merge with it."""
        return (self.placed,) if self.put is None else (self.placed, self.put)

    @property
    def lay(self) -> Entry | None:
        """What lay there at commit."""
        return None if self.deleted else (self.found or self.put or self.base or self.entry)

    @property
    def given_back(self) -> Entry | None:
        """What comes back when no bundle has the path any more: a device, FIFO or socket cannot."""
        return None if self.original is None or self.original.kind is Kind.OTHER else self.original

    @property
    def pending(self) -> bool:
        """A version waits that was never placed."""
        return self.base is not None and not self.entry.same(self.base)


class Generation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the host holds by ashore's hand, from this transaction to the next."""

    number: int
    transaction: str
    time: str
    """UTC, RFC 3339. For people: order is by number."""
    verb: Verb
    bundles: tuple[BundleRecord, ...] = ()
    files: Mapping[str, FileRecord] = {}
    displaced: Mapping[str, Entry] = {}
    """Administrators' edits that this transaction moved aside: in the store until discarded."""
    originals: Mapping[str, Entry] = {}
    """What had been there before ashore and cannot come back since this transaction: in the store as edits are."""
    gone: tuple[str, ...] = ()
    """Paths that somebody had deleted, and that this transaction brought back or dropped."""
    restores: int = 0
    """The generation that this rollback brought back."""
    bundle_restores: Mapping[str, int] = {}
    """For a rollback of one bundle: its name, and the generation that its version came from."""
    taken_back: bool = False
    """A rollback that came by itself: nobody confirmed what was there, or it failed late."""
    why: str = ""
    """Why it was taken back, where that is not the missing confirmation."""

    settings: Mapping[str, str] = {}
    """Values of the kernel that bundles set, as they were before ashore: put back when nobody sets them any more."""
    made: Mapping[str, str] = {}
    """Paths that triggers made, each with the trigger: not there before, they go with what asked for them."""
    started: tuple[str, ...] = ()
    """Units of the host that bundles enable, and that did not run before: they stop when no bundle does any more."""
    gave_way: Mapping[str, str] = {}
    """Units that ran until one of a bundle started that conflicts with them, each with that one: they start when it
    goes. An earlier ashore did not note them."""

    @property
    def enabled(self) -> tuple[str, ...]:
        """The units that its bundles enable."""
        return tuple(dict.fromkeys(unit for bundle in self.bundles for unit in bundle.enabled))

    def bundle(self, name: str) -> BundleRecord | None:
        return next((b for b in self.bundles if b.name == name), None)


EMPTY = Generation(number=0, transaction="", time="", verb=Verb.REMOVE)
"""The host before ashore."""
