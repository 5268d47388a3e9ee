# SPDX-License-Identifier: Apache-2.0
"""Values: bundle defaults < the host's values.d < --set. Only the bundle's own defaults may be templates. No I/O."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from ashore.errors import InputError, Issue, UsageError
from ashore.nouns.bundle import BundleManifest, ValueType
from ashore.nouns.config import VALUES_FOLDER
from ashore.nouns.files import printable, shown
from ashore.nouns.shape import nearest
from ashore.nouns.toml import Document
from ashore.rules.bundles.layers import BUNDLE, layers, misplaced, told_of_bundle
from ashore.rules.bundles.templated import is_templated
from ashore.rules.bundles.typed import Path, fitted, misfits, toml_or_text, type_of

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
    """Names given by --set, or to this bundle alone, that it does not declare, with a hint."""
    origins: Mapping[Path, str] = {}
    """Where what a host set was said: of each path that one file or --set gave, or the nearest above it."""

    def origin(self, path: Path) -> str:
        """``file:line`` or ``--set KEY``; empty for a default of the bundle."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, "")


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
    return key, toml_or_text(value)


def merge_values(
    manifest: BundleManifest,
    host_values: Sequence[Document] = (),
    sets: Mapping[str, object] | None = None,
    secrets: AbstractSet[str] = frozenset(),
) -> Values:
    """The values of a bundle: later ones win, tables are merged key by key.

    Args:
        manifest: declares defaults, and what is required and secret.
        host_values: the files of values.d, in the order that they apply.
        sets: what --set said, by dotted key.
        secrets: names of values that are secret whatever the manifest says of them.

    Raises:
        InputError: required values are missing, or some are not what the bundle can take; all of them.
    """
    specs = manifest.values
    tree: dict[str, object] = {name: _defer(spec.default) for name, spec in specs.items() if spec.default is not None}
    origins: dict[Path, str] = {}
    shared, own = layers(manifest.name, host_values)
    for layer in (*shared, *own):
        tree = _laid_over(tree, layer.values, origins, layer.place)
    for key, value in (sets or {}).items():
        given = {n: fitted(specs[n], v) if n in specs else v for n, v in _nested(key, value).items()}
        tree = _laid_over(tree, given, origins, _by_set(key))
    values = Values(tree=tree, origins=origins)
    missing = [_missing(manifest, name) for name, spec in specs.items() if spec.required and name not in tree]
    if unfit := [*_unfit(manifest, values), *_of_bundles(manifest, host_values, values)]:
        raise InputError(f"the bundle {manifest.name} cannot take values as they are set", issues=[*missing, *unfit])
    if missing:
        raise InputError(f"the bundle {manifest.name} needs values that are not set", issues=missing)
    named = {key.partition(".")[0] for key in sets or {}} | {name for layer in own for name in layer.values}
    stray = named - specs.keys()
    return msgspec.structs.replace(
        values,
        secrets=frozenset(secrets) | {name for name, spec in manifest.values.items() if spec.secret},
        unset={name: spec.description for name, spec in manifest.values.items() if name not in tree},
        stray={name: nearest(name, manifest.values) for name in sorted(stray)},
    )


def _missing(manifest: BundleManifest, name: str) -> Issue:
    spec = manifest.values[name]
    remedy = how_to_set(name, secret=spec.secret)
    return Issue(where=manifest.name, message=not_set(name, spec.description), remedy=remedy)


def not_set(name: str, described: str) -> str:
    """What is wrong when a host lacks a value."""
    return f"the value {name} is not set" + (f": {described}" if described else "")


def how_to_set(name: str, *, secret: bool) -> str:
    """And what to do about it: a command line, which all users of a host see, is no place for a secret."""
    option = f"--set-file {name}=FILE" if secret else f"--set {name}=..."
    return f"write {name} = ... in {shown(VALUES_FOLDER)}/*.toml on the host, or say {option}"


def _nested(key: str, value: object) -> Tree:
    for part in reversed(key.split(".")[1:]):
        value = {part: value}
    return {key.partition(".")[0]: value}


def _laid_over(
    lower: Tree, upper: Tree, origins: dict[Path, str], place: Callable[[Path], str], at: Path = ()
) -> dict[str, object]:
    """`upper` over `lower`; each path that it gives is noted in `origins` with its `place`."""
    merged = dict(lower)
    for name, value in upper.items():
        old, path = merged.get(name), (*at, name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[name] = _laid_over(old, value, origins, place, path)
            continue
        if isinstance(old, Mapping):
            for below in [other for other in origins if other[: len(path)] == path]:
                del origins[below]
        merged[name], origins[path] = value, place(path)
    return merged


def _of_bundles(manifest: BundleManifest, host_values: Sequence[Document], values: Values) -> list[Issue]:
    """Tables `bundle` that are not what they may be meant to be: a value of that name, which nothing else sets."""
    tables = [document for document in host_values if isinstance(document.data.get(BUNDLE), Mapping)]
    spec = manifest.values.get(BUNDLE)
    said = any(path[0] == BUNDLE for path in values.origins)
    if spec is None or said or type_of(spec) not in (None, ValueType.TABLE, ValueType.ANY):
        names = manifest.values.keys() | {manifest.name}  # bundle.NAME = 3 is as little a table of this bundle's values
        return [issue for document in tables for issue in misplaced(document, names)]
    return [told_of_bundle(document.place((BUNDLE,))) for document in tables]


def _by_set(key: str) -> Callable[[Path], str]:
    return lambda _path: f"--set {key}"


def _unfit(manifest: BundleManifest, values: Values) -> list[Issue]:
    """What the host set that is of another type than the bundle can take, or none of its choices."""
    return [
        Issue(where=where, message=message, remedy=f"write {remedy}" if remedy and where.startswith("--set") else "")
        for name in sorted({path[0] for path in values.origins} & manifest.values.keys())
        for path, message, remedy in misfits(name, manifest.values[name], values.tree[name])
        if (where := values.origin(path) or _said_below(values, path))
    ]


def _said_below(values: Values, path: Path) -> str:
    """Where a key of a table was said, which is none of the choices with it."""
    return next((where for below, where in values.origins.items() if below[: len(path)] == path), "")


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
