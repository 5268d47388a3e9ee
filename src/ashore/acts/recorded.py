# SPDX-License-Identifier: Apache-2.0
"""What a generation recorded of a bundle, as far as it is asked for again."""

import os
from collections.abc import Mapping

from ashore.acts.tools import Tools
from ashore.errors import ChangedError
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.bundle import Bundle
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import printable
from ashore.nouns.generation import BundleRecord, Generation, SetValue
from ashore.nouns.reference import with_today_s_host


def sets_of(tools: Tools, record: BundleRecord) -> dict[str, object]:
    """The values recorded of --set, secret ones fetched from their store."""
    return {key: _said(tools, record, key, value) for key, value in record.sets.items()}


def _said(tools: Tools, record: BundleRecord, key: str, value: SetValue) -> object:
    """
    Raises:
        ChangedError: it is a secret that is gone or damaged.
    """
    if not value.secret:
        return value.value
    try:
        return Secrets(tools.state).get(value.secret)
    except ChangedError as error:
        anew = f"say it anew: ashore upgrade {record.name} --set-file {key}=FILE"
        what = f"{error.message}, the value {key} of {record.name}"
        raise ChangedError(what, cause=error.cause, remedy=f"{anew}; or {error.remedy}") from error


def is_lost(tools: Tools, record: BundleRecord, ask: Ask) -> bool:
    """Whether a secret that is asked for once more cannot be read: then it has to be stored, whatever else is so."""
    for key in ask.sets.keys() & record.sets.keys():
        try:
            _said(tools, record, key, record.sets[key])
        except ChangedError:
            return True
    return False


def sets_with(tools: Tools, record: BundleRecord | None, ask: Ask) -> dict[str, object]:
    """What --set says from now on: what was recorded, as far as it stays, and what is asked for.

    A newer value for a name ends older ones for it and for what is below it: ``limits`` those of ``limits.cpu``.
    """
    sets: dict[str, object] = {}
    if record is not None and not ask.reset:
        ended = (*ask.unset, *ask.sets)  # those are not read: a secret that is lost is replaced like any other
        staying = {k: v for k, v in record.sets.items() if not any(_covers(name, k) for name in ended)}
        sets = {key: _said(tools, record, key, value) for key, value in staying.items()}
    for key, value in ask.sets.items():
        sets = {**_without(sets, key), key: value}
    return sets


def never_set(record: BundleRecord | None, ask: Ask, name: str) -> tuple[str, ...]:
    """Notes on what --unset names and nothing was recorded for."""
    recorded = record.sets if record is not None else {}
    missing = [key for key in ask.unset if not any(_covers(key, known) for known in recorded)]
    return tuple(f"--unset {printable(key)}: of the bundle {name} no such value is recorded" for key in missing)


def secret_names(record: BundleRecord | None, ask: Ask) -> frozenset[str]:
    """Values (of the first level) that were recorded as secret: they stay so, whatever a new version declares."""
    sets = {} if ask.reset or record is None else record.sets
    kept = {key: value for key, value in sets.items() if not any(_covers(name, key) for name in ask.unset)}
    return frozenset(key.partition(".")[0] for key, value in kept.items() if value.secret)


def _without(sets: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in sets.items() if not _covers(name, key)}


def _covers(name: str, key: str) -> bool:
    """Whether the dotted `key` is `name`, or one below it."""
    return f"{key}.".startswith(f"{name}.")


def source_of(tools: Tools, record: BundleRecord) -> Bundle | None:
    """What an installed bundle is rendered from, if the host kept it whole."""
    from ashore.rules.sources import unpack

    descriptor = tools.content.open(record.source) if record.source else None
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read()
    return unpack(data) if of(data) == record.source else None


def record_for(ask: Ask, current: Generation) -> BundleRecord | None:
    """The installed bundle that came from the very reference that is asked for."""
    same = [b for b in current.bundles if _came_of(b, ask)]
    return next((b for b in same if b.name == ask.name), same[0] if same else None)


def renamed(ask: Ask, current: Generation, name: str) -> BundleRecord | None:
    """The installed bundle that is asked for, where its reference has one named `name` by now."""
    old = current.bundle(ask.name) if ask.name != name else None
    return old if old is not None and _came_of(old, ask) else None


def _came_of(record: BundleRecord, ask: Ask) -> bool:
    written = ask.written or str(ask.reference)
    # Records from before index.docker.io was read as docker.io have it still.
    return (with_today_s_host(record.reference), record.root_in_image) == (written, ask.root_in_image)


def here(tools: Tools) -> frozenset[Digest]:
    """Contents that lie on the host by the current generation's record, or are in the store."""
    records = tools.history.current().files.values()
    lying = {lay.digest for record in records if (lay := record.lay) is not None}
    return frozenset(lying).union(digest for digest, _ in tools.content.digests())
