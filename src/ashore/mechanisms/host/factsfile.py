# SPDX-License-Identifier: Apache-2.0
"""Facts from a file, as ``ashore facts --json`` prints them: for offline roots, and for trying templates."""

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from ashore.errors import InputError, Issue, words_of
from ashore.nouns import strictjson
from ashore.nouns.facts import Facts
from ashore.nouns.files import printable
from ashore.nouns.limits import MIB
from ashore.nouns.shape import nearest

_LARGEST = 4 * MIB


def load(path: str) -> Facts:
    """Read facts from the JSON file `path`, a path of this machine.

    Raises:
        InputError: it cannot be read, or is not facts; every problem with the fact's name.
    """
    shown = printable(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read facts from {shown}", cause=words_of(error)) from error
    if len(data) > _LARGEST:
        raise InputError(f"the facts in {shown} have more than {_LARGEST} bytes")
    try:
        found = strictjson.loads(data)
    except ValueError as error:
        raise InputError(
            f"{shown} is not JSON", cause=str(error), remedy="make one with ashore facts --json"
        ) from error
    issues = [Issue(where=f"{shown}: {at or 'the document'}", message=text) for at, text in problems(Facts, found, "")]
    if issues:
        raise InputError(f"{shown} does not hold facts", issues=issues, remedy="ashore facts --schema tells their form")
    return msgspec.convert(found, Facts)


def problems(kind: Any, value: object, at: str) -> Iterator[tuple[str, str]]:
    """Where and what is wrong with `value` as a `kind`: all of it, where msgspec stops at the first."""
    info = kind if isinstance(kind, msgspec.inspect.Type) else msgspec.inspect.type_info(kind)
    if isinstance(info, msgspec.inspect.UnionType):
        inner = [one for one in info.types if not isinstance(one, msgspec.inspect.NoneType)]
        if value is not None:
            yield from problems(inner[0], value, at)
    elif isinstance(info, msgspec.inspect.StructType) and isinstance(value, dict):
        yield from _struct_problems(info, value, at)
    elif isinstance(info, msgspec.inspect.DictType) and isinstance(value, dict):
        for name, item in value.items():
            yield from problems(info.value_type, item, _below(at, name))
    elif isinstance(info, msgspec.inspect.VarTupleType) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(info.item_type, item, f"{at}[{number + 1}]")
    elif not _fits(info, value):
        yield at, f"must be {_word(info)}, not {_json_type(value)}"


def _struct_problems(info: msgspec.inspect.StructType, value: dict[str, object], at: str) -> Iterator[tuple[str, str]]:
    fields = {field.name: field for field in info.fields}
    for name, item in value.items():
        if name in fields:
            yield from problems(fields[name].type, item, _below(at, name))
        else:
            yield _below(at, name), f"is not a fact{nearest(name, fields)}"
    for name, field in fields.items():
        if field.required and name not in value:
            yield at, f"has no {name}"


def _fits(info: msgspec.inspect.Type, value: object) -> bool:
    match info:
        case msgspec.inspect.StrType():
            return isinstance(value, str)
        case msgspec.inspect.BoolType():
            return isinstance(value, bool)
        case msgspec.inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            # AnyType and `object`: what a cloud says of itself has no known form.
            return isinstance(info, msgspec.inspect.AnyType | msgspec.inspect.CustomType)


def _below(at: str, name: str) -> str:
    return f"{at}.{printable(name)}".lstrip(".")


def _word(info: msgspec.inspect.Type) -> str:
    words = {
        "StrType": "a string",
        "BoolType": "true or false",
        "IntType": "a whole number",
        "VarTupleType": "an array",
    }
    return words.get(type(info).__name__, "an object")


def _json_type(value: object) -> str:
    words = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return words.get(type(value), "null")
