# SPDX-License-Identifier: Apache-2.0
"""Of what type a value has to be, and among which: what its bundle says, or its default does. No I/O."""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping

from ashore.nouns import toml
from ashore.nouns.bundle import ValueSpec, ValueType
from ashore.rules.bundles.templated import is_templated

Path = tuple[str, ...]
_CALLED = {
    ValueType.STRING: "a string",
    ValueType.INTEGER: "an integer",
    ValueType.FLOAT: "a float",
    ValueType.BOOLEAN: "true or false",
    ValueType.LIST: "a list",
    ValueType.TABLE: "a table",
}
_WRITTEN = {
    ValueType.STRING: "'{}=\"...\"'",
    ValueType.INTEGER: "{}=8080",
    ValueType.FLOAT: "{}=0.5",
    ValueType.BOOLEAN: "{}=true",
    ValueType.LIST: "'{}=[\"...\"]'",
    ValueType.TABLE: "'{}={{ key = \"...\" }}'",
}


def toml_or_text(text: str) -> object:
    """What `text` is as TOML; where it is none, or no record could hold it, itself."""
    try:
        read = tomllib.loads(f"value = {text}")
        value, large = toml.plain(found := read.get("value"))
    except (ValueError, RecursionError):  # not TOML, a number of thousands of digits, or deeper than anybody writes
        return text
    plain = isinstance(found, str | bool | int | float | list | dict) and _finite(found)
    # A second line of `text` could hold further keys; dates, inf, nan and large numbers stay as they were written.
    return value if len(read) == 1 and plain and not large else text


def _finite(value: object) -> bool:
    """Whether a record can keep it: JSON has neither inf nor nan."""
    if isinstance(value, dict | list):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def type_of(spec: ValueSpec) -> ValueType | None:
    """What a value has to be; None where nothing tells, as of a default that is a template: any text comes of it."""
    if spec.type:
        return spec.type
    if spec.default is not None:
        return _told_by(spec.default)
    kinds = {_kind(choice) for choice in spec.choices}
    return kinds.pop() if len(kinds) == 1 else None


def _told_by(default: object) -> ValueType | None:
    return None if is_templated(default) else _kind(default)


def _kind(value: object) -> ValueType:
    match value:
        case bool():
            return ValueType.BOOLEAN
        case int():
            return ValueType.INTEGER
        case float():
            return ValueType.FLOAT
        case Mapping():
            return ValueType.TABLE
        case list():
            return ValueType.LIST
        case _:
            return ValueType.STRING  # dates have been made texts


def fits(kind: ValueType | None, value: object) -> bool:
    """Whether `value` is of this type; a whole number is a float as well."""
    found = _kind(value)
    return kind in (None, ValueType.ANY, found) or (kind, found) == (ValueType.FLOAT, ValueType.INTEGER)


def among(choices: tuple[object, ...], value: object) -> bool:
    """Whether `value` is one of them: true is not 1, but 1.0 is."""
    return any(isinstance(choice, bool) is isinstance(value, bool) and choice == value for choice in choices)


def fitted(spec: ValueSpec, value: object) -> object:
    """What --set gave, as the type has it: a text is read as TOML, a number or truth for a string stays a text."""
    return _fitted(type_of(spec), spec.default, value)


def _fitted(kind: ValueType | None, default: object, value: object) -> object:
    if kind is ValueType.STRING and isinstance(value, int):
        return str(value).lower()
    if isinstance(value, str) and not fits(kind, value):
        read = toml_or_text(value)
        value = read if fits(kind, read) else value
    if kind is ValueType.TABLE and isinstance(value, Mapping) and isinstance(default, Mapping):
        return {
            name: _fitted(_told_by(default[name]), default[name], item) if name in default else item
            for name, item in value.items()
        }
    return value


def misfits(name: str, spec: ValueSpec, value: object) -> Iterator[tuple[Path, str, str]]:
    """What is wrong with a value, and where in it: the path, what is told of it, and how --set would write it."""
    wrong = False
    for path, kind, found in _misfits((name,), type_of(spec), spec.default, value):
        key, wrong = ".".join(path), True
        yield path, f"{key} {_must_be(kind, found)}", f"--set {_WRITTEN[kind].format(key)}"
    if spec.choices and not wrong and not among(spec.choices, value):
        said = " or ".join(toml_text(choice) for choice in spec.choices)
        yield (name,), f"{name} must be {said}" + ("" if spec.secret else f", not {toml_text(value)}"), ""


def _must_be(kind: ValueType, found: ValueType) -> str:
    return f"must be {_CALLED[kind]}, not {'a boolean' if found is ValueType.BOOLEAN else _CALLED[found]}"


def misfit(kind: ValueType | None, value: object) -> str:
    """What is wrong with the type of `value`, if anything is."""
    return "" if kind is None or fits(kind, value) else _must_be(kind, _kind(value))


def _misfits(
    path: Path, kind: ValueType | None, default: object, value: object
) -> Iterator[tuple[Path, ValueType, ValueType]]:
    if not fits(kind, value):
        assert kind is not None
        yield path, kind, _kind(value)
    elif kind is ValueType.TABLE and isinstance(value, Mapping) and isinstance(default, Mapping):
        for name in (name for name in value if name in default):
            yield from _misfits((*path, name), _told_by(default[name]), default[name], value[name])


def toml_text(value: object) -> str:
    """A value as TOML writes it, or nearly: for messages."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, Mapping):
        items = ", ".join(f"{_key(name)} = {toml_text(item)}" for name, item in value.items())
        return f"{{ {items} }}" if items else "{}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "_").isidentifier()
    return name if bare else toml_text(name)
