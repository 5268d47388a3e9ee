# SPDX-License-Identifier: Apache-2.0
"""An image taken apart for who compares it with another: its tree, and those of its contents that are asked for."""

import os
from collections.abc import Collection, Mapping

import msgspec

from ashore.acts.fetch.fetch import fetch_tree
from ashore.acts.fetch.partial import Needed, PartialImage
from ashore.mechanisms.images.cache import CacheSink
from ashore.mechanisms.images.patch import FileContent
from ashore.mechanisms.images.table import Listed, Position, position
from ashore.mechanisms.images.tables import Tables, index_digest
from ashore.mechanisms.images.tap import Tap
from ashore.mechanisms.state.known import FOLDER, Known
from ashore.nouns.digest import Digest, hex_of
from ashore.nouns.files import Entry
from ashore.nouns.image import Descriptor, VerifiedImage
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ContentSink, ImageReader, Progress, RangedReader
from ashore.rules.images.imagetree import tree_prefix


class Keeping(msgspec.Struct):
    """`partial.Shortcuts` that lead nowhere, and keep the tables."""

    tables: Tables
    fetched: int = 0

    def table(self, layer: Descriptor, place: Position | None) -> tuple[Listed, ...] | None:
        return None

    def keep(self, layer: Descriptor, place: Position, table: bytes) -> None:
        self.tables.keep(layer, place, table)

    def cost(self, digest: Digest) -> int | None:
        return None

    def take(self, needed: Mapping[Digest, Needed], sink: ContentSink) -> set[Digest]:
        return set()


class LayerIndex(msgspec.Struct, frozen=True):
    """A layer's compact index, and the bytes of the table that it stands for."""

    digest: Digest
    data: bytes
    table: int


class Contents:
    """Of one image, below `folder`. By its tables where they can be had, else as a whole."""

    def __init__(
        self, image: VerifiedImage, reader: ImageReader, folder: str, progress: Progress, limits: Limits
    ) -> None:
        os.makedirs(folder)
        self._image, self._reader, self._folder = image, reader, folder
        self._progress, self._limits = progress, limits
        self._layers = image.image.manifest.layers
        self._tables = Tables(Known(os.path.join(folder, FOLDER), limits), limits)
        self._prefix = tree_prefix(image.image.config, name=image.image.reference)
        self._partial = self._by_tables()
        self.tree: Mapping[str, Entry] = self._partial.tree if self._partial else self._whole()

    def bring(self, digests: Collection[Digest]) -> None:
        """Have these contents in the folder."""
        if self._partial and not self._partial.fetch(digests, CacheSink(self._folder)):
            self._whole()

    def open(self, digest: Digest) -> FileContent:
        """A content that was brought; who opens it closes its descriptor."""
        descriptor = os.open(os.path.join(self._folder, hex_of(digest)), os.O_RDONLY | os.O_CLOEXEC)
        return FileContent(descriptor, os.fstat(descriptor).st_size)

    def costs(self) -> Mapping[Digest, int]:
        """Bytes of the layers that hold each content, as far as their tables are known."""
        found: dict[Digest, int] = {}
        for layer in self._layers:
            for item in self._tables.of_layer(layer, position(layer, self._limits)) or ():
                found.setdefault(item.digest, item.end - item.start)
        return found

    def index(self, number: int) -> LayerIndex | None:
        """The compact index of a layer, if the manifest names it."""
        layer = self._layers[number] if number < len(self._layers) else None
        place = position(layer, self._limits) if layer else None
        digest = index_digest(layer) if layer else None
        data = self._tables.index(digest) if digest else None
        return LayerIndex(digest, data, place.length) if digest and data and place else None

    def _by_tables(self) -> PartialImage | None:
        if not isinstance(self._reader, RangedReader):
            return None
        partial = PartialImage(self._image, self._reader, Keeping(self._tables), self._progress, self._limits)
        return partial if partial.open(self._prefix) else None

    def _whole(self) -> Mapping[str, Entry]:
        tapped = Tap(self._reader, self._tables, self._limits)
        sink = CacheSink(self._folder)
        return fetch_tree(self._image, tapped, sink, prefix=self._prefix, progress=self._progress, limits=self._limits)
