# SPDX-License-Identifier: Apache-2.0
"""What a generation recorded of a bundle, as far as it is asked for again."""

import os

from ashore.acts.tools import Tools
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.bundle import Bundle
from ashore.nouns.digest import Digest, of
from ashore.nouns.generation import BundleRecord, Generation


def sets_of(tools: Tools, record: BundleRecord) -> dict[str, object]:
    """The values recorded of --set, secret ones fetched from their store."""
    store = Secrets(tools.state)
    return {key: store.get(v.secret) if v.secret else v.value for key, v in record.sets.items()}


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
    written = ask.written or str(ask.reference)
    return next((b for b in current.bundles if (b.reference, b.root_in_image) == (written, ask.root_in_image)), None)


def here(tools: Tools) -> frozenset[Digest]:
    """Contents that lie on the host by the current generation's record, or are in the store."""
    records = tools.history.current().files.values()
    lying = {lay.digest for record in records if (lay := record.lay) is not None}
    return frozenset(lying).union(digest for digest, _ in tools.content.digests())
