# SPDX-License-Identifier: Apache-2.0
"""Is there anything to do? One question to the registry, one look at each path's stat, no content read."""

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ashore.acts.recorded import is_lost, record_for, sets_with
from ashore.acts.tools import Tools
from ashore.mechanisms.attributes import stat_of
from ashore.mechanisms.state import journal
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.config import POLICY_PATH, VALUES_FOLDER
from ashore.nouns.digest import Digest
from ashore.nouns.files import Kind, OnEdit, parent
from ashore.nouns.generation import BundleRecord, Generation
from ashore.nouns.image import INDEXES
from ashore.nouns.reference import ImageReference, Transport
from ashore.rules.bundles.inputs import fingerprint
from ashore.rules.bundles.layers import layers

if TYPE_CHECKING:
    from ashore.nouns.toml import Document


def nothing_to_do(tools: Tools, asks: Sequence[Ask], *, without_gone: bool = False) -> bool:
    """Whether the host holds what `asks` want, as far as digests and stats tell; False means: look closer.

    With `without_gone` a bundle stays as it is whose image was a file that is no longer there.

    Raises:
        VerificationError: the policy does not admit (any more) what is asked for.
        AshoreError: as `ImageReader.resolve`.
    """
    if journal.exists(tools.state):
        return False
    current = tools.history.current()
    found = [(ask, record) for ask in asks if (record := record_for(ask, current)) is not None]
    tools.resolved.clear()
    same = (
        len(found) == len(asks)
        and not any(ask.reset or ask.unset for ask in asks)
        and all(same_inputs(tools, ask, record) for ask, record in found)
        and not _replaces(current, {record.name for _, record in found})
        and untouched(tools, current)
        and all((without_gone and is_gone(a.reference)) or _names(tools, a, r) for a, r in found)
    )
    if same:
        tools.resolved.clear()
    return same


def _names(tools: Tools, ask: Ask, record: BundleRecord) -> bool:
    """Whether a reference, if it is admitted, still names what is installed."""
    if tools.host.is_there(POLICY_PATH):
        # Imported late: most hosts have none.
        from ashore.acts.fetch.policy import demand_of

        demand_of(tools.host, ask.judged, tools.limits)
    return named_digest(tools, ask) == record.digest


def is_gone(named: ImageReference) -> bool:
    """Whether an image was a file that is no longer there, as of a stick that was unplugged."""
    return named.transport is not Transport.REGISTRY and not os.path.lexists(named.place)


def named_digest(tools: Tools, ask: Ask) -> Digest:
    """The digest of the bundle image that a reference names now.

    Raises:
        AshoreError: as `ImageReader.resolve`.
    """
    reader = tools.open_image(ask.reference)
    top = tools.resolved[ask.reference] = reader.resolve()
    if top.media_type not in INDEXES:
        return top.digest
    # Imported late: only an index may be an installer image's, whose bundle image is what is recorded.
    from ashore.acts.fetch.fetch import carried_digest

    return carried_digest(reader, top, str(ask.reference), tools.limits)


def untouched(tools: Tools, current: Generation) -> bool:
    """Whether every path's stat is as recorded."""
    files = {path: record for path, record in current.files.items() if record.entry.kind is not Kind.DIR}
    filled = {parent(path) for path, record in files.items() if record.stat is not None}
    for path in current.files.keys() - files.keys() - filled:
        # A folder's own times change with its content; that is not ours to judge. What lies in one shows it is there.
        if tools.host.lstat(path) is None:
            return False
    for path, record in files.items():
        status = tools.host.lstat(path)
        if (stat_of(status) if status is not None else None) != record.stat:
            return False
    return True


def _replaces(current: Generation, names: Collection[str]) -> bool:
    """Whether an edit lies there that the next install of its bundle replaces, of whatever version."""
    other = (r for r in current.files.values() if r.deleted or not (r.found is r.put is r.base is None))  # few
    return any(
        record.on_edit is OnEdit.REPLACE
        and record.bundle in names
        and not (record.lay is not None and record.lay.same(record.entry))
        for record in other
    )


def same_inputs(tools: Tools, ask: Ask, record: BundleRecord) -> bool:
    """Whether facts and values are as they were when the bundle was rendered, as far as it read them."""
    if is_lost(tools, record, ask):
        return False
    sets = sets_with(tools, record, ask)
    facts = tools.facts() if record.facts_used else None
    host_values = _host_values(tools)
    salt = Secrets(tools.state).salt(create=False)
    return fingerprint(facts, record.facts_used, layers(record.name, host_values), sets, salt) == record.inputs


def _host_values(tools: Tools) -> "Sequence[Document]":
    if tools.host.lstat(VALUES_FOLDER) is None:
        return ()
    # Imported late: it brings the TOML reader, which most hosts do not need for an answer of "nothing".
    from ashore.mechanisms.host.values import read_values

    return read_values(tools.host)
