# SPDX-License-Identifier: Apache-2.0
"""The tables of the layers that a host has seen, as far as they are still known."""

import msgspec

from ashore.errors import AshoreError
from ashore.mechanisms.images.compactindex import decode, encode
from ashore.mechanisms.images.table import Listed, Position, members, parse
from ashore.mechanisms.state.known import Known
from ashore.nouns.delta import INDEX
from ashore.nouns.digest import Digest, WireDigest, hex_of, of
from ashore.nouns.image import Descriptor
from ashore.nouns.limits import Limits

_WHERE = "a known layer"


class Tables:
    """In `known`: an index by its digest; a table as it was stored beside the name of its index, or by its own."""

    def __init__(self, known: Known, limits: Limits) -> None:
        self._known, self._limits = known, limits
        self.most = known.most

    def of_layer(self, layer: Descriptor, place: Position | None) -> tuple[Listed, ...] | None:
        """The members of a layer whose table is known."""
        digest = index_digest(layer)
        try:
            if place is not None and (data := self._table(digest, place)) is not None:
                return members(parse(data, place, _WHERE, self._limits), layer, _WHERE)
            if digest is not None and (data := self.index(digest)) is not None:
                return members(decode(data, _WHERE), layer, _WHERE)
        except AshoreError:
            pass  # it is fetched, and whoever reads it then says what is wrong
        return None

    def _table(self, digest: Digest | None, place: Position) -> bytes | None:
        """A layer's own table, as it was stored."""
        if digest is None:
            return self._known.get(place.digest)
        data = self._known.read(_beside(digest))
        return data if data is not None and of(data) == place.digest else None

    def index(self, digest: Digest) -> bytes | None:
        """The compact index with this digest; made out of its table, where that is what is known."""
        if (data := self._known.get(digest)) is not None:
            return data
        table = self._known.read(_beside(digest))
        if table is None:
            return None
        try:
            place = Position(0, len(table), self._limits.table, of(table))
            data = encode(parse(table, place, _WHERE, self._limits))
        except AshoreError:
            return None
        return data if data is not None and of(data) == digest else None

    def keep(self, layer: Descriptor, place: Position, table: bytes) -> None:
        """A table came with its layer: it may be what the next one is made of."""
        if of(table) != place.digest:
            return
        digest = index_digest(layer)
        self._known.write(hex_of(place.digest) if digest is None else _beside(digest), table)

    def keep_index(self, digest: Digest, index: bytes) -> None:
        """An index was made out of an older one."""
        self._known.put(digest, index)


def index_digest(layer: Descriptor) -> Digest | None:
    """The digest of a layer's compact index, by the manifest."""
    try:
        return msgspec.convert(layer.annotations.get(INDEX), WireDigest)
    except msgspec.ValidationError:
        return None


def _beside(digest: Digest) -> str:
    return f"{hex_of(digest)}.table"
