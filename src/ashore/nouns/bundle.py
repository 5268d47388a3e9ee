# SPDX-License-Identifier: Apache-2.0
"""What a bundle's author declares: `bundle.toml`, typed, and the tree beside it."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.confirm import Confirm
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, OnEdit

SCHEMA = 1
MANIFEST_NAME = "bundle.toml"
TEMPLATE_SUFFIX = ".j2"


class ValueType(StrEnum):
    """What a value can have to be."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    LIST = "list"
    TABLE = "table"
    ANY = "any"
    """Whatever the default is."""


class ValueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A value that the bundle asks for. A default may be a template over facts; a host's own value never is."""

    default: object | None = None
    required: bool = False
    secret: bool = False
    description: str = ""
    type: ValueType | None = None
    """None: the type of the default, where that is no template."""
    choices: tuple[object, ...] = ()
    """All that it may be, where there are any."""


class Include(msgspec.Struct, frozen=True, kw_only=True):
    """Build time: lift `path` (a file or folder) to `to` in ``root/``, out of `image` or of a `folder` of the builder's
    machine, which the build names."""

    image: str = ""
    folder: str = ""
    path: str
    to: str

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        return self.image or f"the folder {self.folder}"


class FileRule(msgspec.Struct, frozen=True, kw_only=True):
    """How to place the files that `path`, a path or glob, names. Later rules win, key by key."""

    path: str
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    on_edit: OnEdit | None = None
    adopt: bool | None = None
    validate: tuple[str, ...] | None = None
    reload: tuple[str, ...] | None = None
    restart: tuple[str, ...] | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold after the units started, times in seconds. One probe at the most: http, tcp or command."""

    unit: str = ""
    http: str = ""
    tcp: str = ""
    command: tuple[str, ...] = ()
    within: float = 90.0
    settle: float | None = None

    @property
    def name(self) -> str:
        """For people, and in what an error is about."""
        return self.unit or self.http or self.tcp or " ".join(self.command)


class Phase(StrEnum):
    """When a step of a bundle runs."""

    BEFORE = "before"
    """Before the first unit is stopped and the first file is placed."""
    AFTER = "after"
    """When everything is healthy."""
    UNDO = "undo"
    """When everything went back, and the step of that name in the phase before was begun."""


class BundleStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command of a bundle, for what no trigger covers. Installing and removing files never need one."""

    name: str
    phase: Phase
    command: tuple[str, ...]
    reason: str
    within: float = 60.0
    """Seconds that it may take."""
    units: tuple[str, ...] = ()
    """Only where the plan acts on one of these; always, if there are none."""


class Templated(msgspec.Struct, frozen=True, kw_only=True):
    """A text of [[health]] or [units] enable that is a template."""

    key: tuple[str | int, ...]
    """Where the manifest has it: ``("health", 0, "command", 1)``, ``("units", "enable", 0)``."""
    line: int


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole `bundle.toml`."""

    name: str
    version: str = ""
    values: Mapping[str, ValueSpec] = {}
    includes: tuple[Include, ...] = ()
    enable: tuple[str, ...] | None = None
    """None: every shipped unit with an [Install] section."""
    files: tuple[FileRule, ...] = ()
    shell_templates: tuple[str, ...] = ()
    health: tuple[Health, ...] = ()
    steps: tuple[BundleStep, ...] = ()
    confirm: Confirm | None = None
    """None: only a change of sshd, network or firewall has to be confirmed."""
    templates: tuple[Templated, ...] = ()
    """Those of its texts that are rendered for a host, before anybody goes by them."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle as it lies in an image: manifest and file index. Contents stay where they are, by digest.

    `entries` are by path below ``root/``, templates with their suffix; `texts` has the bytes of what
    rules must read (templates, unit files and their drop-ins, what triggers go by), by digest.
    """

    manifest: BundleManifest
    entries: Mapping[str, Entry]
    texts: Mapping[Digest, bytes]
    source: str
    """The image's digest, for messages."""
