# SPDX-License-Identifier: Apache-2.0
"""Patches: a content as zstd frames, each with a window of an older content as its prefix.

The new content is cut into segments. Of each the patch holds where its window begins and how long it is in the
old content, the length of its frame (little-endian, 8, 4 and 4 bytes), and the frame. So neither making nor
applying one takes more memory than a window and a segment, whatever the size of the files.
"""

import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from ashore.errors import InputError, words_of
from ashore.mechanisms.images.streams import Readable
from ashore.nouns.delta import CONTEXT, SEGMENT, Patch
from ashore.nouns.limits import KIB, MIB, Limits

_HEAD = struct.Struct("<QII")
_LEAST_WINDOW = 8
"""zstd takes no shorter prefix."""
_SMALL, _THOROUGH, _QUICK = MIB, 12, 10
"""Levels: small contents take no time at any of them."""
_TRIAL = 1
"""The level at which places for a window are compared: by long matches alone, which takes next to nothing."""
_WORKERS = 2
_PIECE = 256 * KIB

Write = Callable[[bytes], object]


class Content(Protocol):
    """What a patch is made from or applied to: read by pieces, anywhere."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on; fewer where it ends."""
        ...


class BytesContent(msgspec.Struct, frozen=True):
    """A content in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]


class FileContent(msgspec.Struct, frozen=True):
    """An open file. One that is cut short meanwhile gives fewer bytes, and a result that is not what it should be."""

    descriptor: int
    size: int

    def read(self, start: int, length: int) -> bytes:
        pieces, got = [], 0
        try:
            while got < length and (piece := os.pread(self.descriptor, length - got, start + got)):
                pieces.append(piece)
                got += len(piece)
        except OSError as error:
            raise InputError("the old content cannot be read", cause=words_of(error)) from error
        return b"".join(pieces)  # of one piece, which is usual, that is no copy


def make(old: Content, new: Content, write: Write, *, most: int) -> int | None:
    """Write a patch that makes `new` out of `old`, and return its length; None once it is no shorter than `most`.

    Frames are made side by side: zstd lets go of the interpreter.
    """
    from concurrent.futures import ThreadPoolExecutor

    level = _THOROUGH if new.size <= _SMALL else _QUICK
    total = 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        starts = list(range(0, new.size, SEGMENT))
        for at in range(0, len(starts), 2 * _WORKERS):  # not all at once: frames that wait take memory
            for piece in pool.map(lambda start: _segment(old, new, start, level), starts[at : at + 2 * _WORKERS]):
                total += len(piece)
                if total >= most:
                    return None
                write(piece)
    return total


def apply(source: Readable, patch: Patch, segment: int, old: Content, write: Write, limits: Limits) -> None:
    """Make a content out of `old` by the patch in `source`. Whether it came out right, its digest tells.

    Raises:
        InputError: the patch is malformed, or over a limit.
    """
    if old.size != patch.old_size:
        raise InputError("a patch is for a content of another size")
    if not MIB <= segment <= limits.delta_segment:
        raise InputError(f"a patch with segments of {segment} bytes")
    left, made = patch.length, 0
    while made < patch.size:
        left -= _HEAD.size
        start, window, length = _HEAD.unpack(_exactly(source, _HEAD.size)) if left >= 0 else (0, 0, 0)
        left -= length
        size = min(segment, patch.size - made)
        if window > limits.delta_window or start + window > old.size:
            raise InputError("a patch's window lies outside of the old content, or is too large")
        if left < 0 or not 0 < length <= _most(size):
            raise InputError("a patch's frame is longer than what it may hold")
        for piece in _made(_exactly(source, length), _prefix(old.read(start, window)), size, limits):
            write(piece)
        made += size
    if left:
        raise InputError("a patch goes on after its end")


def _segment(old: Content, new: Content, start: int, level: int) -> bytes:
    data = new.read(start, SEGMENT)
    windows = list(_windows(start, len(data), old.size, new.size))
    if len(windows) > 1:
        windows = [min(windows, key=lambda w: len(_frame(data, old.read(*w), _TRIAL)))]
    at, length = windows[0]
    frame = _frame(data, old.read(at, length), level)
    return _HEAD.pack(at, length, len(frame)) + frame


def _windows(start: int, length: int, old: int, new: int) -> Iterator[tuple[int, int]]:
    """Where in the old content a segment's like may lie: as far from its beginning, from its end, or in between."""
    seen: list[int] = []
    for place in (start * old // max(new, 1), start, start + old - new):
        if all(abs(place - other) > CONTEXT // 4 for other in seen):
            seen.append(place)
            first = min(max(place - CONTEXT, 0), old)
            window = min(max(place + length + CONTEXT, 0), old) - first
            if window >= _LEAST_WINDOW:
                yield first, window
    yield from () if seen and old >= _LEAST_WINDOW else [(0, 0)]


def _frame(data: bytes, window: bytes, level: int) -> bytes:
    from ashore.mechanisms.images.zstandard import zstd

    bits = max(10, (len(data) + len(window)).bit_length())
    options = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.window_log: bits,
        zstd.CompressionParameter.enable_long_distance_matching: level == _TRIAL,
    }
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=_prefix(window))
    frame: bytes = compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)
    return frame


def _made(frame: bytes, prefix: Any, size: int, limits: Limits) -> Iterator[bytes]:
    """A segment out of its frame, a piece at a time.

    Raises:
        InputError: the frame is corrupt, or holds another amount.
    """
    from ashore.mechanisms.images.zstandard import zstd

    most = (limits.delta_window + limits.delta_segment).bit_length()
    decoder = zstd.ZstdDecompressor(zstd_dict=prefix, options={zstd.DecompressionParameter.window_log_max: most})
    left = size
    try:
        piece = decoder.decompress(frame, _PIECE)
        while piece and len(piece) <= left:
            left -= len(piece)
            yield piece
            piece = b"" if decoder.eof else decoder.decompress(b"", _PIECE)
    except zstd.ZstdError as error:
        raise InputError("a patch's frame is corrupt", cause=str(error)) from error
    if piece or left or not decoder.eof or decoder.unused_data:
        raise InputError("a patch's frame holds another amount than its segment")


def _prefix(window: bytes) -> Any:
    from ashore.mechanisms.images.zstandard import zstd

    return zstd.ZstdDict(window, is_raw=True).as_prefix if len(window) >= _LEAST_WINDOW else None


def _most(size: int) -> int:
    """The longest frame that a segment may need: zstd's own bound, and its headers."""
    return size + (size >> 7) + 512


def _exactly(source: Readable, length: int) -> bytes:
    data = memoryview(bytearray(length))
    filled = 0
    while filled < length and (got := source.readinto(data[filled:])):
        filled += got
    if filled < length:
        raise InputError("a patch ends early")
    return bytes(data)
