# SPDX-License-Identifier: Apache-2.0
"""What a TOML file may hold: each shape reads a value, reports all that is wrong, and tells its JSON Schema.

One source for both, so that the published schema cannot drift from the parser.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from ashore.errors import Issue
from ashore.nouns import files
from ashore.nouns.duration import seconds_of
from ashore.nouns.toml import Document, Key
from ashore.nouns.units import UNIT_SUFFIXES

Schema = dict[str, Any]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
"""A bundle's name: it is a file's name and a word on the command line."""
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+")
_SIZE = re.compile(r"(\d{1,19}) ?(?:([KMGT])iB)?")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\$?")
BAD = object()
"""What `read` returns after it reported a problem."""


class At(msgspec.Struct, frozen=True):
    """A place in a document, with the list that problems go to."""

    document: Document
    issues: list[Issue]
    key: Key = ()
    keys: list[Key] = []
    """Where each of the issues is."""

    def below(self, part: str | int) -> "At":
        return At(self.document, self.issues, (*self.key, part), self.keys)

    def problem(self, message: str, remedy: str = "") -> object:
        """Report what is wrong here."""
        self.issues.append(Issue(where=self.document.place(self.key), message=message, remedy=remedy))
        self.keys.append(self.key)
        return BAD

    def __str__(self) -> str:
        text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in self.key)
        return text.lstrip(".")


class Shape(Protocol):
    """One expected type."""

    def read(self, value: object, at: At) -> object: ...
    def schema(self) -> Schema: ...


class Anything(msgspec.Struct, frozen=True):
    """Any TOML value."""

    def read(self, value: object, at: At) -> object:
        return value

    def schema(self) -> Schema:
        return {}


class Text(msgspec.Struct, frozen=True):
    """A string of one line, not longer than `longest`."""

    longest: int = 4096
    least: int = 0

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, str):
            return wrong_type(at, "a string", value)
        if len(value) > self.longest:
            return at.problem(f"{at} is longer than {self.longest} characters")
        if "\0" in value:
            return at.problem(f"{at} holds a NUL character")
        return value if len(value) >= self.least else at.problem(f"{at} is empty")

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": self.longest} | ({"minLength": self.least} if self.least else {})


class Flag(msgspec.Struct, frozen=True):
    """true or false."""

    def read(self, value: object, at: At) -> object:
        return value if isinstance(value, bool) else wrong_type(at, "true or false", value)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Count(msgspec.Struct, frozen=True):
    """A whole number within bounds."""

    least: int
    most: int

    def read(self, value: object, at: At) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            return wrong_type(at, "a whole number", value)
        if not self.least <= value <= self.most:
            return at.problem(f"{at} is {value}", f"it must be from {self.least} to {self.most}")
        return value

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class Amount(msgspec.Struct, frozen=True):
    """A whole number above zero, or a size: ``"64 MiB"``."""

    most: int = (1 << 62) - 1

    def read(self, value: object, at: At) -> object:
        if isinstance(value, str):
            found = _SIZE.fullmatch(value)
            if not found:
                return at.problem(f"{at}: {value!r} is not an amount", 'write a whole number, or "64 MiB"')
            value = int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2] or ""]
        return Count(1, self.most).read(value, at)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}


class Seconds(msgspec.Struct, frozen=True):
    """A time: ``"90s"``, ``"5m"``, ``"1h30m"``, or a number of seconds."""

    def read(self, value: object, at: At) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            # TOML has inf and nan
            return float(value) if 0 <= value < 1e9 else at.problem(f"{at}: {value} is not a time")
        if not isinstance(value, str):
            return wrong_type(at, 'a time like "90s"', value)
        seconds = seconds_of(value)
        return seconds if seconds is not None else at.problem(f"{at}: {value!r} is not a time", _A_TIME)

    def schema(self) -> Schema:
        pattern = r"^(?=.)(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?$"
        return {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "number", "minimum": 0}]}


class Mode(msgspec.Struct, frozen=True):
    """Permission bits, written ``"0644"``."""

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, str):
            return at.problem(f"{at}: a mode is a string, not {value!r}", 'write four octal digits, like "0644"')
        try:
            return files.parse_mode(value)
        except ValueError as error:
            return at.problem(f"{at}: {error}")

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^0?[0-7]{3,4}$"}


class Path(msgspec.Struct, frozen=True):
    """A path below a root; a leading slash says the same. Read without leading and trailing slashes."""

    def read(self, value: object, at: At) -> object:
        text = Text().read(value, at)
        if not isinstance(text, str):
            return text
        path = text.strip("/")
        if not path:
            return at.problem(f"{at} is empty: it names the root itself")
        if any(part in {"", ".", ".."} for part in path.split("/")):
            return at.problem(f"{at}: {text!r} has an empty part, . or ..", "write the path as it lies on the host")
        return path

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^/*[^/]", "not": {"pattern": r"(^|/)\.\.?(/|$)"}}


class Owner(msgspec.Struct, frozen=True):
    """A user's or group's name, or its number."""

    def read(self, value: object, at: At) -> object:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str):
            return wrong_type(at, "a user's or group's name or number", value)
        if not _OWNER.fullmatch(text) or (text.isdigit() and int(text) >= 2**32 - 1):
            return at.problem(f"{at}: {text[:80]!r} is not a user's or group's name or number")
        return text

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]}


class Name(msgspec.Struct, frozen=True):
    """A bundle's name."""

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, str):
            return wrong_type(at, "a string", value)
        if not NAME.fullmatch(value):
            return at.problem(f"{at}: {value[:140]!r} is not a name", "lower-case letters, digits, . _ and -")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{NAME.pattern}$"}


class Unit(msgspec.Struct, frozen=True):
    """A unit's name with its suffix (systemd.unit(5))."""

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, str):
            return wrong_type(at, "a unit's name", value)
        if len(value) > 255 or not _UNIT.fullmatch(value):
            return at.problem(f"{at}: {value[:80]!r} is not a unit's name")
        if not value.endswith(UNIT_SUFFIXES):
            return at.problem(f"{at}: {value!r} has no unit type", f'write "{value}.service"')
        return value

    def schema(self) -> Schema:
        suffixes = "|".join(suffix[1:] for suffix in UNIT_SUFFIXES)
        return {"type": "string", "pattern": rf"^[A-Za-z0-9:_.\\@-]+\.({suffixes})$"}


class OneOf(msgspec.Struct, frozen=True):
    """A word of a list."""

    words: type[StrEnum]

    def read(self, value: object, at: At) -> object:
        known = [word.value for word in self.words]
        if isinstance(value, str) and value in known:
            return self.words(value)
        return at.problem(f"{at}: {value!r} is not known{nearest(value, known)}", f"one of {', '.join(known)}")

    def schema(self) -> Schema:
        return {"enum": [word.value for word in self.words]}


class ListOf(msgspec.Struct, frozen=True):
    """An array of one shape, read as a tuple."""

    of: Shape
    least: int = 0

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, list):
            return wrong_type(at, "an array", value, 'write ["..."]' if isinstance(value, str) else "")
        if len(value) < self.least:
            return at.problem(f"{at} is empty")
        read = tuple(self.of.read(item, at.below(number)) for number, item in enumerate(value))
        return BAD if BAD in read else read

    def schema(self) -> Schema:
        return {"type": "array", "items": self.of.schema()} | ({"minItems": self.least} if self.least else {})


class Field(msgspec.Struct, frozen=True):
    """A key of a table."""

    shape: Shape
    help: str
    required: bool = False


class Table(msgspec.Struct, frozen=True):
    """A table with known keys, read as a dict of those that are there and right."""

    fields: Mapping[str, Field]

    def read(self, value: object, at: At) -> object:
        if not isinstance(value, dict):
            return wrong_type(at, "a table", value)
        for name in value.keys() - self.fields.keys():
            inside = f" in [{at}]" if at.key else ""
            at.below(name).problem(f"unknown key {files.printable(name)!r}{inside}{nearest(name, self.fields)}")
        for name, field in self.fields.items():
            if field.required and name not in value:
                at.problem(f"{str(at) or 'the file'} has no {name}", field.help)
        read = {n: f.shape.read(value[n], at.below(n)) for n, f in self.fields.items() if n in value}
        return {name: item for name, item in read.items() if item is not BAD}

    def schema(self) -> Schema:
        keys = {name: {"description": field.help, **field.shape.schema()} for name, field in self.fields.items()}
        required = [name for name, field in self.fields.items() if field.required]
        schema: Schema = {"type": "object", "properties": keys, "additionalProperties": False}
        return schema | ({"required": required} if required else {})


_A_TIME = 'write "90s", "5m" or "1h30m"'


def wrong_type(at: At, expected: str, value: object, remedy: str = "") -> object:
    """Report a value of another type, by TOML's name of it and not by itself: it may be a secret."""
    return at.problem(f"{at} must be {expected}, not {toml_type(value)}", remedy)


def toml_type(value: object) -> str:
    """TOML's word for what `value` is."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


def nearest(word: object, known: Iterable[str]) -> str:
    """`` (did you mean "x"?)``, where one of `known` is near."""
    import difflib

    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""
