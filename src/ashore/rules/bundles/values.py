# SPDX-License-Identifier: Apache-2.0
"""Values: bundle defaults < the host's values.d < --set. Only the bundle's own defaults may be templates. No I/O."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from ashore.errors import InputError, Issue, UsageError
from ashore.nouns import toml
from ashore.nouns.bundle import BundleManifest
from ashore.nouns.config import VALUES_FOLDER
from ashore.nouns.files import printable, shown
from ashore.nouns.shape import nearest
from ashore.rules.bundles.templated import is_templated

Tree = Mapping[str, object]


class Deferred(msgspec.Struct, frozen=True):
    """A default of the bundle that is a template itself: rendered when it is first read."""

    text: str


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """The values that hold for one bundle on one host."""

    tree: Tree
    """Leaves are TOML's types, and `Deferred` where a default of the bundle still holds."""
    secrets: frozenset[str] = frozenset()
    """Names (of the first level) of secret values."""
    unset: Mapping[str, str] = {}
    """Values that the bundle declares and nobody set, with what it says about them."""
    stray: Mapping[str, str] = {}
    """Names given by --set that the bundle does not declare, with a hint."""


def parse_set(text: str) -> tuple[str, object]:
    """``"K=V"`` -> key and value. V is TOML, else it is text; K may be dotted.

    Raises:
        UsageError: there is no ``=``, or a part of the key is empty.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        # Not quoted whole: what follows the = may be a secret.
        raise UsageError(
            f"--set {printable(key[:80])!r} is not KEY=VALUE", remedy="write --set NAME=VALUE, like --set port=8080"
        )
    return key, _toml_or_text(value)


def _toml_or_text(text: str) -> object:
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


def merge_values(
    manifest: BundleManifest,
    host_values: Sequence[tuple[str, Tree]] = (),
    sets: Mapping[str, object] | None = None,
    secrets: AbstractSet[str] = frozenset(),
) -> Values:
    """The values of a bundle: later ones win, tables are merged key by key.

    Args:
        manifest: declares defaults, and what is required and secret.
        host_values: each file of values.d with its name for messages, in the order that they apply.
        sets: what --set said, by dotted key.
        secrets: names of values that are secret whatever the manifest says of them.

    Raises:
        InputError: required values are missing; all of them.
    """
    tree: dict[str, object] = {}
    defaults = {name: _defer(spec.default) for name, spec in manifest.values.items() if spec.default is not None}
    given = [_nested(key, value) for key, value in (sets or {}).items()]
    for layer in (defaults, *(values for _, values in host_values), *given):
        tree = _laid_over(tree, layer)
    if missing := [name for name, spec in manifest.values.items() if spec.required and name not in tree]:
        raise InputError(
            f"the bundle {manifest.name} needs values that are not set",
            issues=[_missing(manifest, name) for name in missing],
        )
    stray = {key.partition(".")[0] for key in sets or {}} - manifest.values.keys()
    return Values(
        tree=tree,
        secrets=frozenset(secrets) | {name for name, spec in manifest.values.items() if spec.secret},
        unset={name: spec.description for name, spec in manifest.values.items() if name not in tree},
        stray={name: nearest(name, manifest.values) for name in sorted(stray)},
    )


def _missing(manifest: BundleManifest, name: str) -> Issue:
    return Issue(where=manifest.name, message=not_set(name, manifest.values[name].description), remedy=how_to_set(name))


def not_set(name: str, described: str) -> str:
    """What is wrong when a host lacks a value."""
    return f"the value {name} is not set" + (f": {described}" if described else "")


def how_to_set(name: str) -> str:
    """And what to do about it."""
    return f"write {name} = ... in {shown(VALUES_FOLDER)}/*.toml on the host, or say --set {name}=..."


def _nested(key: str, value: object) -> Tree:
    for part in reversed(key.split(".")[1:]):
        value = {part: value}
    return {key.partition(".")[0]: value}


def _laid_over(lower: Tree, upper: Tree) -> dict[str, object]:
    merged = dict(lower)
    for name, value in upper.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _laid_over(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _defer(value: object) -> object:
    """`value` with its strings that are templates marked as such."""
    match value:
        case str():
            return Deferred(value) if is_templated(value) else value
        case list():
            return [_defer(item) for item in value]
        case dict():
            return {name: _defer(item) for name, item in value.items()}
        case _:
            return value
