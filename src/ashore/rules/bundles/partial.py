# SPDX-License-Identifier: Apache-2.0
"""A `bundle.toml` that is wrong, without what is wrong in it: lint goes on with the rest. No I/O."""

import re
from collections.abc import Iterable

import msgspec

from ashore.errors import InputError, Issue
from ashore.nouns import toml
from ashore.nouns.bundle import BundleManifest, ValueSpec
from ashore.nouns.toml import Document, Key
from ashore.rules.bundles.manifest import is_known, is_value_name, may_mean, parse_manifest, read_manifest

_WHOLE = frozenset({"include", "health", "step"})
"""Of whose entries one that is wrong is left out as a whole: half a command is another command."""
_MOST = 20
"""Rounds: what is left out may leave others without what they need."""


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told of a manifest, the document that says just that, and the keys that were left out."""

    manifest: BundleManifest
    document: Document
    left_out: tuple[Key, ...] = ()

    def sure_of(self, table: str) -> bool:
        """Whether all that the file says of `table` is known: one that nobody knows may be meant for it."""
        return not any(key[0] == table or may_mean(key[0], table) for key in self.left_out)

    @property
    def names(self) -> BundleManifest | None:
        """The manifest with every name of [values], None where not all are known. Of a value that is wrong the name is;
        of a name that is wrong what a template may well call it is."""
        if any(may_mean(key[0], "values") or key == ("values",) for key in self.left_out):
            return None
        meant = {_meant(str(key[1])): ValueSpec(required=True) for key in self.left_out if key[0] == "values"}
        return (
            msgspec.structs.replace(self.manifest, values={**meant, **self.manifest.values}) if meant else self.manifest
        )


def partial(data: bytes, where: str, default_name: str) -> tuple[Partial | None, tuple[Issue, ...]]:
    """What can be told of a `bundle.toml`, None where that is nothing, and all that is wrong with it."""
    try:
        manifest = parse_manifest(data, where, default_name)
        return Partial(manifest=manifest, document=toml.parse(data, where)), ()
    except InputError as error:
        return _left(data, where), error.issues


def _left(data: bytes, where: str) -> Partial | None:
    try:
        document = toml.parse(data, where, values="values")
        left_out: tuple[Key, ...] = ()
    except InputError:
        try:
            document = toml.parse(data, where)
        except InputError:
            return None
        left_out = (("values",),)  # numbers in it that nobody can keep
        document = _without(document, left_out)
    for _ in range(_MOST):
        try:
            manifest, wrong = read_manifest(document, "bundle")
        except InputError:  # a schema of which nothing is known
            return None
        if not wrong:
            return Partial(manifest=manifest, document=document, left_out=left_out)
        keys = tuple(_cut(key) for key in wrong)
        # A table of values, or a plain word, that nobody knows hides no other table.
        left_out += tuple(
            key for key in keys if is_known(key[0]) or isinstance(document.data[str(key[0])], dict | list)
        )
        document = _without(document, keys)
    return None


def _cut(key: Key) -> Key:
    if key[0] in _WHOLE or _is_value(key):
        return key[:2]
    return key


def _is_value(key: Key) -> bool:
    return key[0] == "values" and len(key) > 1 and is_value_name(str(key[1]))


def _meant(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _without(document: Document, keys: Iterable[Key]) -> Document:
    """`document` without these keys; of a value its name stays, as one that says nothing more."""
    gone = set(keys)
    lines: dict[Key, int] = {}

    def copied(value: object, old: Key, new: Key) -> object:
        if old in document.lines:
            lines[new] = document.lines[old]
        if old in gone:
            return {"required": True}
        if isinstance(value, dict):
            kept = ((part, item) for part, item in value.items() if stays((*old, part)))
            return {part: copied(item, (*old, part), (*new, part)) for part, item in kept}
        if isinstance(value, list):
            numbers = [number for number in range(len(value)) if stays((*old, number))]
            return [copied(value[old_n], (*old, old_n), (*new, new_n)) for new_n, old_n in enumerate(numbers)]
        return value

    def stays(key: Key) -> bool:
        return key not in gone or _is_value(key)

    data = copied(dict(document.data), (), ())
    assert isinstance(data, dict)
    return Document(where=document.where, data=data, lines=lines)
