# SPDX-License-Identifier: Apache-2.0
"""A streaming reader of tar archives: ustar, POSIX pax, GNU long names and base-256 numbers.

It reads, and touches no file system. Where two readers could disagree about an archive (a size given
twice with different values, a bad checksum, bytes after the end) it refuses.
Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Standard".
"""

import os
from collections.abc import Iterator

from ashore.errors import InputError, Issue
from ashore.mechanisms.images.streams import Readable, in_pieces
from ashore.mechanisms.images.tarheader import (
    ARCHIVE_BLOCK,
    Extended,
    Header,
    TarError,
    parse_header,
    parse_pax,
    to_entry,
)
from ashore.nouns.files import printable
from ashore.nouns.layer import TarEntry
from ashore.nouns.limits import MIB, Limits

_ZEROS = bytes(ARCHIVE_BLOCK)


class TarReader:
    """Iterates over a layer's members; `chunks` has the bytes of the member that came last.

    Raises:
        InputError: the archive is malformed or over a limit; names `where` and the entry.
    """

    def __init__(self, stream: Readable, where: str, limits: Limits) -> None:
        self._stream, self._where, self._limits = stream, where, limits
        self._next_piece = in_pieces(stream).piece
        self._buffer = memoryview(b"")
        self._low = self._high = self._read = 0
        self._left = 0  # bytes of the current member not read yet
        self._padding = 0  # after them, up to the next block
        self._name = ""
        self._ended = False
        self.count = 0
        """Members so far."""

    def __iter__(self) -> Iterator[TarEntry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> TarEntry | None:
        """The next member, or None after the end of the archive was seen to be its end."""
        try:
            return None if self._ended else self._next()
        except TarError as fault:
            place = f"{self._where}: after entry {printable(self._name)}" if self._name else self._where
            if fault.entry:
                place = f"{self._where}: entry {printable(os.fsdecode(fault.entry))}"
            raise self._refused(place, fault) from fault

    @property
    def offset(self) -> int:
        """Where in the archive the rest of the current member's bytes begins."""
        return self._read - (self._high - self._low)

    def chunks(self) -> Iterator[memoryview]:
        """The current member's bytes, each view valid until the next is asked for."""
        while self._left:
            if self._low == self._high and not self._more():
                raise self._refused(f"{self._where}: entry {printable(self._name)}", TarError("it is cut off"))
            count = min(self._left, self._high - self._low)
            view = self._buffer[self._low : self._low + count]
            self._low += count
            self._left -= count
            yield view

    def _refused(self, place: str, fault: TarError) -> InputError:
        issue = Issue(where=place, message=str(fault))
        return InputError(f"{self._where} is not a valid archive", issues=[issue])

    def _next(self) -> TarEntry | None:
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        extended = Extended()
        while True:
            block = self._block()
            if block == _ZEROS:
                self._end(extended)
                return None
            header = parse_header(block)
            if header.type in b"xgLK":
                self._extend(header, extended)
                continue
            try:
                entry, stored = to_entry(header, extended)
            except TarError as fault:
                fault.entry = extended.pax.get(b"path", header.name)
                raise
            self._name = entry.name
            self._sparse_map(block)
            self._left, self._padding = stored, -stored % ARCHIVE_BLOCK
            self.count += 1
            if self.count > self._limits.entries:
                raise TarError(f"more than {self._limits.entries} entries")
            return entry

    def _extend(self, header: Header, extended: Extended) -> None:
        extended.bytes += ARCHIVE_BLOCK + header.size  # empty ones count as well, or there could be any number
        if extended.bytes > self._limits.header:
            raise TarError(f"extended headers of more than {self._limits.header} bytes")
        data = self._take(header.size)
        self._skip(-header.size % ARCHIVE_BLOCK)
        if header.type == b"x":
            extended.set_pax(parse_pax(data))
        elif header.type == b"g":
            extended.check_global(parse_pax(data))
        else:
            extended.set_gnu(header.type, data)

    def _sparse_map(self, block: bytes) -> None:
        """Old GNU sparse files carry more of their map in blocks before the data."""
        if block[156:157] != b"S":
            return
        more, read = block[482], 0
        while more:
            more = self._block()[504]
            read += ARCHIVE_BLOCK
            if read > self._limits.header:
                raise TarError(f"a sparse map of more than {self._limits.header} bytes")

    def _end(self, extended: Extended) -> None:
        if extended.bytes:
            raise TarError("the archive ends after an extended header")
        while self._low < self._high or self._more():
            if self._buffer[self._low : self._high].tobytes().strip(b"\0"):
                raise TarError("data after the end of the archive")
            self._low = self._high
        self._ended = True

    def _block(self) -> bytes:
        if self._high - self._low >= ARCHIVE_BLOCK:
            low = self._low
            self._low = low + ARCHIVE_BLOCK
            return self._buffer[low : self._low].tobytes()
        return self._take(ARCHIVE_BLOCK)

    def _take(self, size: int) -> bytes:
        parts = []
        while size:
            if self._low == self._high:
                self._fill()
            count = min(size, self._high - self._low)
            parts.append(self._buffer[self._low : self._low + count].tobytes())
            self._low += count
            size -= count
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        seek = getattr(self._stream, "skip", None)
        while size > (ready := self._high - self._low):
            size -= ready
            if seek and size > MIB:  # a file: what nobody asked for is not read
                seek(size - ARCHIVE_BLOCK)
                self._read += size - ARCHIVE_BLOCK
                size = ARCHIVE_BLOCK
            self._fill()
        self._low += size

    def _more(self) -> bool:
        self._buffer = memoryview(self._next_piece())
        self._low, self._high = 0, len(self._buffer)
        self._read += self._high
        return self._high > 0

    def _fill(self) -> None:
        if not self._more():
            raise TarError("the archive is cut off")
