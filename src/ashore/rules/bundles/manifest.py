# SPDX-License-Identifier: Apache-2.0
"""`bundle.toml` -> `BundleManifest`: every problem at once, each with its line. No I/O."""

import re
from collections.abc import Mapping
from typing import Any, cast

from ashore.errors import InputError, Issue
from ashore.nouns import toml
from ashore.nouns.bundle import SCHEMA, BundleManifest, FileRule, ValueSpec, ValueType
from ashore.nouns.confirm import By, Confirm
from ashore.nouns.files import OnEdit
from ashore.nouns.shape import (
    BAD,
    NAME,
    Anything,
    At,
    Count,
    Field,
    Flag,
    ListOf,
    Mode,
    Name,
    OneOf,
    Owner,
    Path,
    Schema,
    Seconds,
    Table,
    Text,
    Unit,
    nearest,
)
from ashore.rules.bundles.healthshape import Probe
from ashore.rules.bundles.includeshape import IncludeShape
from ashore.rules.bundles.stepshape import Command, Steps
from ashore.rules.bundles.templated import OrTemplate, is_templated, templates_of
from ashore.rules.bundles.typed import misfit, misfits, type_of

_VALUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = frozenset(
    {"facts", "values", "true", "false", "none", "not", "range", "dict", "namespace", "cycler", "joiner"}
    | {"loop", "self", "super", "caller", "varargs", "kwargs"}
)
"""Names that a template already has, some only in loops, blocks and macros. Words like `in` and `if` can be names."""

_COMMAND = Command()
_UNITS = ListOf(Unit())
_ENABLE = ListOf(OrTemplate(Unit()))

_SPEC = Table(
    {
        "default": Field(Anything(), "what holds where the host sets nothing; a string may be a template over facts"),
        "required": Field(Flag(), "the host must set it"),
        "secret": Field(Flag(), "shown nowhere, recorded as a salted hash, its files 0600"),
        "description": Field(Text(), "for people, and for the message when it is missing"),
        "type": Field(OneOf(ValueType), "what it must be; the default's type if not said"),
        "choices": Field(ListOf(Anything(), least=1), "all that it may be"),
    }
)


class _Value:
    """One of [values]: a bare default, or a table of the keys above. Another table is itself the default."""

    def read(self, value: object, at: At) -> object:
        if not is_spec(value):
            return ValueSpec(default=value)
        spec = cast("dict[str, Any]", _SPEC.read(value, at))
        if spec.keys() != cast("dict[str, Any]", value).keys():
            return BAD
        if spec.get("required") and "default" in spec:
            return at.problem(f"{at} is required and has a default", "a value with a default is never missing")
        return _consistent(ValueSpec(**spec), at)

    def schema(self) -> Schema:
        return {"anyOf": [_SPEC.schema(), {"type": ["string", "number", "boolean", "array", "object"]}]}


def _consistent(spec: ValueSpec, at: At) -> object:
    """`spec`, if its choices and its default are what it asks for. A default that is a template may become anything."""
    for number, choice in enumerate(spec.choices):
        if wrong := misfit(type_of(spec), choice):
            here = at.below("choices").below(number)
            return here.problem(f"{here} {wrong}")
    if spec.default is not None and not is_templated(spec.default):
        for _, message, _ in misfits(str(at.key[-1]), spec, spec.default):
            return at.below("default").problem(f"{at}.default: {message}")
    return spec


def is_spec(value: object) -> bool:
    """Whether an entry of [values] says how a value is, rather than being its default: ``{ type = "nfs" }`` is one."""
    if not isinstance(value, dict) or not value or not value.keys() <= _SPEC.fields.keys():
        return False
    return value.keys() != {"type"} or value["type"] in list(ValueType)


class _Values:
    """The table [values]."""

    def read(self, value: object, at: At) -> object:
        table = Table({}).read(value, at) if not isinstance(value, dict) else value
        if not isinstance(table, dict):
            return table
        read = {name: self._one(name, item, at.below(name)) for name, item in table.items()}
        return {name: spec for name, spec in read.items() if spec is not BAD}

    def _one(self, name: str, item: object, at: At) -> object:
        if not _VALUE_NAME.fullmatch(name):
            return at.problem(
                f"{name[:80]!r} cannot be a value's name", "letters, digits and _, so that {{ name }} works"
            )
        if name.lower() in RESERVED:
            return at.problem(f"a value cannot be called {name!r}: templates have that word already")
        return _Value().read(item, at)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": _Value().schema(),
            "propertyNames": {"pattern": f"^{_VALUE_NAME.pattern}$"},
        }


class _Confirm:
    """How long there is to confirm a change: a time, or a table that says more."""

    table = Table(
        {
            "within": Field(Seconds(), "how long there is to confirm a change, 5m if not said; 0s: it need not be"),
            "by": Field(OneOf(By), "what confirms it beside ashore confirm: a login over ssh"),
        }
    )

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, dict):
            seconds = Seconds().read(value, at)
            return seconds if seconds is BAD else Confirm(within=cast("float", seconds))
        read = self.table.read(value, at)
        return Confirm(**read) if isinstance(read, dict) else BAD

    def schema(self) -> Schema:
        return {"anyOf": [self.table.schema(), *Seconds().schema()["anyOf"]]}


_FILE = Table(
    {
        "path": Field(Path(), "a path on the host, or a glob: * within a name, ** across folders", required=True),
        "mode": Field(Mode(), 'permission bits, like "0600"'),
        "owner": Field(Owner(), "a user of the host"),
        "group": Field(Owner(), "a group of the host"),
        "on_edit": Field(OneOf(OnEdit), "what to do with an edited file; merge below /etc, else keep"),
        "adopt": Field(Flag(), "may take over a file of a package, given back on removal"),
        "validate": Field(_COMMAND, "a command that checks the new file before it is placed; {path} is its name"),
        "reload": Field(_UNITS, "units to reload when it changes"),
        "restart": Field(_UNITS, "units to restart when it changes"),
    }
)
_DOCUMENT = Table(
    {
        "schema": Field(Count(SCHEMA, SCHEMA), "the version of this format"),
        "name": Field(Name(), "the bundle's name; the folder's if not said"),
        "version": Field(Text(128), "the version of what it carries"),
        "values": Field(_Values(), "what the bundle asks for and the host may set"),
        "include": Field(ListOf(IncludeShape()), "files lifted out of other images, or folders, when it is built"),
        "units": Field(
            Table({"enable": Field(_ENABLE, "units to enable and start; all that have [Install] if not said")}),
            "what happens to its units",
        ),
        "files": Field(ListOf(_FILE), "how files are placed; a later entry wins, key by key"),
        "templates": Field(
            Table({"shell": Field(ListOf(Path()), "files in which $NAME and ${NAME} are expanded, and nothing else")}),
            "how templates are read",
        ),
        "health": Field(ListOf(Probe()), "what must hold before an install counts as done"),
        "step": Field(Steps(), "commands before and after a change, for what nothing else covers"),
        "confirm": Field(
            _Confirm(),
            "a change is taken back if nobody confirms it in time; 5m for sshd, network and firewall if not said",
        ),
    }
)


def parse_manifest(data: bytes, where: str, default_name: str) -> BundleManifest:
    """Read a `bundle.toml`; `where` is how messages name it, `default_name` its name if it says none.

    Raises:
        InputError: all problems, each with ``where:line``.
    """
    document = toml.parse(data, where, values="values")
    at = At(document, [], (), [])
    read = _read(document, at)
    if "name" not in document.data and not NAME.fullmatch(default_name):
        given = f"{default_name[:80]!r} cannot be a bundle's name" if default_name else "the bundle has no name"
        at.problem(given, 'write name = "..." at the top: lower-case letters, digits, . _ and -')
    if at.issues:
        raise InputError(f"{where} is wrong", issues=sorted(at.issues, key=_by_line))
    return _manifest(read.get("name", default_name), read, document)


def read_manifest(document: toml.Document, name: str) -> tuple[BundleManifest, tuple[toml.Key, ...]]:
    """What a document says, and where it is wrong; `name` is the bundle's, if it says none.

    Raises:
        InputError: it is of a schema that is newer than what is known here.
    """
    at = At(document, [], (), [])
    read = _read(document, at)
    if at.keys:
        return BundleManifest(name=name), tuple(at.keys)
    return _manifest(read.get("name", name), read, document), ()


def is_known(table: object) -> bool:
    """Whether a `bundle.toml` may have this at its top."""
    return table in _DOCUMENT.fields


def may_mean(word: object, table: str) -> bool:
    """Whether `word`, which no `bundle.toml` may have at its top, may be a misspelled `table`: it is near no other."""
    if is_known(word):
        return False
    near = nearest(word, _DOCUMENT.fields)
    return not near or f'"{table}"' in near


def is_value_name(name: str) -> bool:
    """Whether a value can be called so."""
    return _VALUE_NAME.fullmatch(name) is not None and name.lower() not in RESERVED


def _read(document: toml.Document, at: At) -> dict[str, Any]:
    version = document.data.get("schema", SCHEMA)
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA:
        at.below("schema").problem(
            f"schema {version} is newer than this ashore, which reads {SCHEMA}",
            "use a newer ashore; what else the file says is not known to this one",
        )
        raise InputError(f"{document.where} cannot be read", issues=at.issues)
    return cast("dict[str, Any]", _DOCUMENT.read(dict(document.data), at))


def _by_line(issue: Issue) -> int:
    line = issue.where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


def _manifest(name: str, read: Mapping[str, Any], document: toml.Document) -> BundleManifest:
    return BundleManifest(
        name=name,
        version=read.get("version", ""),
        values=read.get("values", {}),
        includes=read.get("include", ()),
        enable=read.get("units", {}).get("enable"),
        files=tuple(FileRule(**item) for item in read.get("files", ())),
        shell_templates=read.get("templates", {}).get("shell", ()),
        health=read.get("health", ()),
        steps=read.get("step", ()),
        confirm=read.get("confirm"),
        templates=templates_of(document),
    )


def suspicions(data: bytes, where: str) -> tuple[Issue, ...]:
    """What is legal in a `bundle.toml` and probably a mistake: for lint, once `parse_manifest` has taken it."""
    document = toml.parse(data, where)
    found: list[Issue] = []
    values = document.data.get("values", {})
    for name, value in values.items() if isinstance(values, dict) else ():
        at = At(document, found, ("values", name))
        if isinstance(value, dict) and not is_spec(value):
            for key in value:
                near = "" if key in _SPEC.fields else nearest(key, _SPEC.fields)
                if near:
                    at.below(key).problem(f"values.{name} is a plain table, for its key {key!r}{near}")
            if value.keys() == {"type"} and (near := nearest(value["type"], ValueType)):
                at.problem(f"values.{name} is a plain table, for its type {value['type']!r}{near}")
        elif is_spec(value) and value.get("secret") and "default" in value:
            at.problem(f"the secret value {name} has a default, which everybody who has the image can read")
    return tuple(found)


def json_schema() -> Schema:
    """The JSON Schema of `bundle.toml`, made from the same tables that parse it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ashore bundle.toml",
        **_DOCUMENT.schema(),
    }
