# SPDX-License-Identifier: Apache-2.0
"""An image whose files can be fetched one by one: only what the host does not have crosses the network."""

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from ashore.errors import VerificationError
from ashore.mechanisms.images.claims import Claims
from ashore.mechanisms.images.readahead import opened_ahead
from ashore.mechanisms.images.streams import Readable, distrusted, read_all
from ashore.mechanisms.images.table import Listed, Position, members, parse, position
from ashore.nouns.amounts import size
from ashore.nouns.digest import Digest, of_hash
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import Descriptor, VerifiedImage
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ContentSink, Progress, RangedReader
from ashore.rules.images.imagetree import ImageTree
from ashore.rules.images.ranges import joined

_PIECE = 1 << 17
_EMPTY = 16
"""Frames of a content that may bring nothing."""


class _Place(msgspec.Struct, gc=False, frozen=True, order=True):
    """Where a content lies: layer, first byte, the byte after the last; its size and digest uncompressed."""

    layer: int
    start: int
    end: int
    size: int
    digest: Digest


class Needed(msgspec.Struct, frozen=True):
    """A content of the image: a path that has it, its size by the image's table, and its bytes in the layer."""

    path: str
    size: int
    cost: int


class Shortcuts(Protocol):
    """Ways to fetch less of an image than is needed of it."""

    fetched: int
    """Bytes, so far."""

    def table(self, layer: Descriptor, place: Position | None) -> tuple[Listed, ...] | None:
        """The members of a layer, without its table; None where that has to be fetched."""
        ...

    def keep(self, layer: Descriptor, place: Position, table: bytes) -> None:
        """A layer's table was fetched."""
        ...

    def cost(self, digest: Digest) -> int | None:
        """Bytes to fetch for a content; None where it has to come whole."""
        ...

    def take(self, needed: Mapping[Digest, Needed], sink: ContentSink) -> set[Digest]:
        """Put what can be had of these contents into `sink`, and return which that were."""
        ...


class PartialImage:
    """The tree of an image, known by its layers' tables; contents come when they are asked for."""

    def __init__(
        self, image: VerifiedImage, reader: RangedReader, shortcuts: Shortcuts, progress: Progress, limits: Limits
    ) -> None:
        self._layers = image.image.manifest.layers
        self._name = image.image.reference
        self._reader, self._shortcuts, self._progress, self._limits = reader, shortcuts, progress, limits
        self._places: dict[Digest, _Place] = {}
        self._paths: dict[Digest, str] = {}
        self._fetched = 0
        self.tree: Mapping[str, Entry] = {}

    @property
    def whole(self) -> int:
        """Bytes of all layers as they are stored."""
        return sum(layer.size for layer in self._layers)

    def cost(self, digests: Collection[Digest]) -> int:
        """Bytes to fetch for these contents."""
        return sum(self._cost(digest) for digest in set(digests) & self._places.keys())

    def open(self, prefix: str) -> bool:
        """Read the tables and merge them; False where that is not to be had: then the layers are streamed.

        Raises:
            InputError: the tree, or a layer, is refused, as a streamed one would be.
            VerificationError, RegistryError: as the reader has it, or a table is not what the manifest names.
        """
        tree, claims = ImageTree(prefix, self._limits), Claims(self._limits)
        for number, layer in enumerate(self._layers):
            listed = self._table(number, layer)
            if listed is None:
                return False
            claims.add(listed, layer, self._where(number))
            tree.begin_layer(self._where(number))
            for item in listed:
                self._add(tree, item, number)
        entries, _ = tree.finish()
        if not entries:
            return False  # `fetch_tree` says what is missing
        self.tree = entries
        self._paths = {entry.digest: path for path, entry in entries.items() if entry.kind is Kind.FILE}
        return True

    def has(self, digest: Digest) -> bool:
        """Whether a file of the image has this content."""
        return digest in self._paths

    def hand_over(self) -> Mapping[str, Entry]:
        """The tree, which is not kept here any longer: it is large, and contents are asked for by digest."""
        tree, self.tree = self.tree, {}
        return tree

    def fetch(self, digests: Collection[Digest], sink: ContentSink) -> bool:
        """Put these contents into `sink`, as far as the image has them; False if only whole blobs are given."""
        places = {d: self._places[d] for d in set(digests) if d in self._places and d in self._paths}
        for empty in [p for p in places.values() if not p.size]:
            sink.create(self._paths[empty.digest], 0).commit(empty.digest, 0)
        needed = {d: Needed(self._paths[d], p.size, p.end - p.start) for d, p in places.items() if p.size}
        made = self._shortcuts.take(needed, sink) if needed else set()
        runs = self._runs(places[d] for d in needed.keys() - made)
        most, near = self._limits.connections, self._limits.connections_near
        ahead = opened_ahead(self._open_run, runs, most, expect=self._expect, soon=near)
        with contextlib.closing(ahead) as opened:
            for run, stream in opened:
                if stream is None or not self._take_run(run, stream, sink):
                    return False
                self._fetched += run[-1].end - run[0].start
        return True

    def expect(self, digests: Collection[Digest]) -> None:
        """These will be asked for, most likely: the registry may begin."""
        places = [self._places[d] for d in digests if d in self._paths and self._shortcuts.cost(d) is None]
        for run in self._runs(p for p in places if p.size)[: self._limits.connections_near]:
            self._expect(run)

    def tell(self) -> None:
        """Say how much crossed the network, and how much did not have to."""
        if fetched := self._fetched + self._shortcuts.fetched:
            self._progress.say(f"{self._name}: fetched {size(fetched)} of {size(self.whole)}")

    def _cost(self, digest: Digest) -> int:
        place = self._places[digest]
        whole = place.end - place.start
        made = self._shortcuts.cost(digest)
        return whole if made is None else min(made, whole)

    def _table(self, number: int, layer: Descriptor) -> tuple[Listed, ...] | None:
        place = position(layer, self._limits)
        if (known := self._shortcuts.table(layer, place)) is not None:
            return known
        stream = self._reader.blob_range(layer, place.start, place.length) if place else None
        if place is None or stream is None:
            return None
        try:
            data = read_all(stream, limit=place.length, name=self._where(number))
            entries = parse(data, place, self._where(number), self._limits)
        except VerificationError:
            if not distrusted(stream):
                raise
            return self._table(number, layer)
        finally:
            stream.close()
        self._fetched += place.length
        self._shortcuts.keep(layer, place, data)
        return members(entries, layer, self._where(number))

    def _add(self, tree: ImageTree, item: Listed, layer: int) -> None:
        file = tree.add(item.entry)
        if file is not None:
            file.content(item.digest, item.entry.size)
            place = _Place(layer, item.start, item.end, item.entry.size, item.digest)
            self._places.setdefault(item.digest, place)

    def _runs(self, places: Iterable[_Place]) -> list[list[_Place]]:
        """What is asked for at once: places that lie close to each other."""
        return list(joined(sorted(places), lambda place: (place.start, place.end), self._limits.range_gap))

    def _open_run(self, run: list[_Place]) -> Readable | None:
        return self._reader.blob_range(self._layers[run[0].layer], run[0].start, run[-1].end - run[0].start)

    def _expect(self, run: list[_Place]) -> None:
        self._reader.expect_range(self._layers[run[0].layer], run[0].start, run[-1].end - run[0].start)

    def _take_run(self, run: list[_Place], stream: Readable, sink: ContentSink) -> bool:
        """Unpack a run, and what comes wrong of it once more from elsewhere; False if only the whole is given there."""
        while run := self._taken(run, stream, sink):
            again = self._open_run(run)
            if again is None:
                return False
            stream = again
        return True

    def _taken(self, run: list[_Place], stream: Readable, sink: ContentSink) -> list[_Place]:
        """Unpack a run as far as it comes right, and return what is to be asked for once more."""
        at, done = run[0].start, 0
        try:
            for place in run:
                _skip(stream, place.start - at)
                self._unpack(stream, place, sink)
                at, done = place.end, done + 1
        except VerificationError:
            if not distrusted(stream):
                raise
        finally:
            stream.close()
        return run[done:]

    def _unpack(self, stream: Readable, place: _Place, sink: ContentSink) -> None:
        """One file: its frames decompressed, counted and hashed while they are written."""
        path = self._paths[place.digest]
        where = f"{self._where(place.layer)} entry {path}"
        file = sink.create(path, place.size)
        hashed, count = hashlib.sha256(), 0
        try:
            for piece in _decompressed(stream, place, self._limits, where):
                count += len(piece)
                if count > place.size:
                    break
                hashed.update(piece)
                file.write(piece)
            found = of_hash(hashed)
            if count != place.size or found != place.digest:
                raise _not_as_named(where, f"found {found}")
        except BaseException:
            file.abort()
            raise
        file.commit(place.digest, place.size)

    def _where(self, number: int) -> str:
        return f"{self._name} layer {number + 1}"


def _skip(stream: Readable, count: int) -> None:
    for _ in _pieces(stream, count):
        pass


def _pieces(stream: Readable, length: int) -> Iterator[bytes]:
    """The next `length` bytes."""
    buffer = bytearray(min(length, _PIECE))
    while length:
        got = stream.readinto(memoryview(buffer)[: min(length, _PIECE)])
        if not got:
            raise VerificationError("the registry's answer ended early")
        yield bytes(buffer[:got])
        length -= got


def _not_as_named(where: str, cause: str) -> VerificationError:
    # Whoever signed or named the manifest signed its table: what differs was changed on the way.
    remedy = "the registry, or something on the way to it, changed it"
    return VerificationError(f"{where} is not what the manifest's table names", cause=cause, remedy=remedy)


def _decompressed(stream: Readable, place: _Place, limits: Limits, where: str) -> Iterator[bytes]:
    """The content of the zstd frames at a place, a bounded piece at a time.

    Raises:
        VerificationError: they are no such frames, or more than a content of this size can have.
    """
    from ashore.mechanisms.images.zstandard import zstd

    options = {zstd.DecompressionParameter.window_log_max: limits.zstd_window_log}
    decoder, frames = zstd.ZstdDecompressor(options=options), 0
    try:
        for data in _pieces(stream, place.end - place.start):
            while data:
                piece = decoder.decompress(data, _PIECE)
                while piece or not (decoder.eof or decoder.needs_input):
                    yield piece
                    piece = b"" if decoder.eof or decoder.needs_input else decoder.decompress(b"", _PIECE)
                data = decoder.unused_data if decoder.eof else b""
                frames += decoder.eof
                if frames > min(place.size + _EMPTY, limits.frames):
                    raise _not_as_named(where, f"it is in more than {frames - 1} parts")
                decoder = zstd.ZstdDecompressor(options=options) if decoder.eof else decoder
    except zstd.ZstdError as error:
        raise _not_as_named(where, str(error)) from error
