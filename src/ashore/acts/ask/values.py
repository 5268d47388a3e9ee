# SPDX-License-Identifier: Apache-2.0
"""``ashore facts --values``: what a bundle's next rendering would take, and where each of it was said."""

from collections.abc import Iterator, Mapping

import msgspec

from ashore.acts.recorded import secret_names, sets_of, source_of
from ashore.acts.tools import Tools
from ashore.errors import InputError
from ashore.mechanisms.host.values import read_values
from ashore.nouns.ask import NOTHING
from ashore.nouns.files import printable
from ashore.nouns.generation import BundleRecord
from ashore.rules.bundles.reads import Path, dotted, undotted
from ashore.rules.bundles.typed import toml_text
from ashore.rules.bundles.values import Deferred, Values, merge_values


class ValueShown(msgspec.Struct, frozen=True, kw_only=True):
    """One value, or one key of a table; a secret one is not told."""

    name: str
    value: object
    set: bool
    secret: bool
    origin: str
    """``file:line`` or ``--set KEY``; empty for a default."""


def values(tools: Tools, record: BundleRecord) -> tuple[ValueShown, ...]:
    """What an installed bundle declares or reads, as it is set here now.

    Raises:
        InputError: the host did not keep what tells, or values that the bundle cannot take.
    """
    bundle = source_of(tools, record)
    if bundle is None:
        what = f"this host did not keep what {record.name} is rendered from"
        raise InputError(what, remedy=f"ashore upgrade {record.name}")
    secrets = secret_names(record, NOTHING)
    found = merge_values(bundle.manifest, read_values(tools.host), sets_of(tools, record), secrets)
    read = {path[0] for used in record.values_used if (path := undotted(used))}
    return tuple(
        shown
        for first in sorted(bundle.manifest.values.keys() | (read & found.tree.keys()))
        for shown in _shown(found, (first,), found.tree.get(first))
    )


def _shown(found: Values, path: Path, value: object) -> Iterator[ValueShown]:
    secret = path[0] in found.secrets
    if isinstance(value, Mapping) and value and not secret:
        for name, item in value.items():
            yield from _shown(found, (*path, name), item)
        return
    yield ValueShown(
        name=dotted(path),
        value=None if secret else _as_said(value),
        set=path[0] in found.tree,
        secret=secret,
        origin=found.origin(path),
    )


def _as_said(value: object) -> object:
    if isinstance(value, list):
        return [_as_said(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _as_said(item) for name, item in value.items()}
    return value.text if isinstance(value, Deferred) else value


def lines(found: tuple[ValueShown, ...]) -> list[str]:
    """Each as a template names it, what it is, and where that was said."""
    return [f"values.{one.name}{_said(one)}" for one in found]


def _said(one: ValueShown) -> str:
    if not one.set:
        return " is not set"
    what = " is secret" if one.secret else f" = {printable(toml_text(one.value))}"
    return f"{what}  ({one.origin or 'default'})"
