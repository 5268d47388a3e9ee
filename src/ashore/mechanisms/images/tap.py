# SPDX-License-Identifier: Apache-2.0
"""A reader whose layers leave their tables of contents behind while they stream by: no byte is fetched twice."""

from collections.abc import Callable

from ashore.mechanisms.images.streams import Readable, cut_off, distrusted
from ashore.mechanisms.images.table import Position, position
from ashore.mechanisms.images.tables import Tables
from ashore.nouns.image import Descriptor
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, Stream


class Tap:
    """`ports.ImageReader`: `reader`, and what `tables` gets of it."""

    def __init__(self, reader: ImageReader, tables: Tables, limits: Limits) -> None:
        self._reader, self._tables, self._limits = reader, tables, limits
        self.resolve, self.manifest = reader.resolve, reader.manifest

    def blob(self, descriptor: Descriptor) -> Stream:
        stream = self._reader.blob(descriptor)
        place = position(descriptor, self._limits)
        if place is None or place.length > self._tables.most:
            return stream
        return _Tapped(stream, place, lambda data: self._tables.keep(descriptor, place, data))


class _Tapped:
    """A stream that copies the bytes of `place` aside."""

    def __init__(self, source: Readable, place: Position, keep: Callable[[bytes], object]) -> None:
        self._source, self._place, self._keep = source, place, keep
        self._at = 0
        self._data = bytearray()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._source.readinto(buffer) or 0
        begin, end = self._place.start - self._at, self._place.start + self._place.length - self._at
        if begin < count and end > 0:
            self._data += memoryview(buffer)[max(begin, 0) : min(end, count)]
        self._at += count
        return count

    def distrust(self) -> bool:
        return distrusted(self._source)

    def cut_off(self) -> None:
        cut_off(self._source)

    def close(self) -> None:
        self._source.close()
        data = bytes(self._data)
        self._data.clear()
        if len(data) == self._place.length:
            self._keep(data)
