# SPDX-License-Identifier: Apache-2.0
"""Texts of a `bundle.toml` that may be templates: those of [[health]] and [units] enable. No I/O."""

from collections.abc import Iterator, Mapping

import msgspec

from ashore.nouns.bundle import Templated
from ashore.nouns.shape import At, Schema, Shape, Text
from ashore.nouns.toml import Document, Key


def is_templated(text: object) -> bool:
    """Whether `text` is a template; all others stand for themselves."""
    return isinstance(text, str) and ("{{" in text or "{%" in text)


class OrTemplate(msgspec.Struct, frozen=True):
    """A shape, or a template of which that is asked when it is rendered."""

    of: Shape

    def read(self, value: object, at: At) -> object:
        return Text().read(value, at) if is_templated(value) else self.of.read(value, at)

    def schema(self) -> Schema:
        return {"anyOf": [self.of.schema(), {"type": "string", "pattern": r"\{[{%]"}]}


def templates_of(document: Document) -> tuple[Templated, ...]:
    """Those of them that a document has, each with its line."""
    found = (key for top in (("health",), ("units", "enable")) for key in _below(_at(document.data, top), top))
    return tuple(Templated(key=key, line=int(document.place(key).rpartition(":")[2])) for key in found)


def _at(data: object, key: Key) -> object:
    for part in key:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _below(value: object, key: Key) -> Iterator[Key]:
    if is_templated(value):
        yield key
    elif isinstance(value, dict | list):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _below(item, (*key, part))
