# SPDX-License-Identifier: Apache-2.0
"""Layers as the tar archives they were before compression: gzip, zstd or plain, counted against bombs."""

import hashlib
from collections.abc import Callable
from typing import Any

from ashore.errors import InputError, VerificationError
from ashore.mechanisms.images.streams import BLOCK, Pieces, Poured, Readable, Unpacked, cut_off, in_pieces
from ashore.nouns.digest import Digest, of_hash
from ashore.nouns.image import DOCKER_LAYER, OCI_LAYER
from ashore.nouns.limits import KIB, MIB, Limits

_GZIP_WRAPPER = 31  # zlib's window bits for: 32 KiB, gzip header and trailer
_FREE = 16 * MIB  # below this much output no ratio is suspicious
_FIRST_FEED = 16 * KIB
_MOST_FEED = 64 * KIB
_WORTH_HANDING = 128 * KIB
"""Bytes: from one thread to the next."""
_OTHER_PREFIXES = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)


class Compression:
    """The names that media types end with."""

    NONE = ""
    GZIP = "gzip"
    ZSTD = "zstd"


def compression_of(media_type: str, name: str = "the layer") -> str:
    """``gzip``, ``zstd`` or nothing, by a layer's media type; `name` is for people.

    Raises:
        InputError: it is not the type of a layer.
    """
    for prefix in (OCI_LAYER, DOCKER_LAYER, *_OTHER_PREFIXES):
        rest = media_type.removeprefix(prefix)
        if rest != media_type and rest in {"", "+gzip", ".gzip", "+zstd", ".zstd"}:
            return rest[1:]
    raise InputError(
        f"{name}: not the media type of a layer: {media_type[:100]!r}",
        remedy="ashore reads tar, tar+gzip and tar+zstd",
    )


def open_layer(
    stream: Readable,
    media_type: str,
    limits: Limits,
    diff_id: Digest | None,
    *,
    name: str = "the layer",
    through: Callable[[Unpacked], Pieces] | None = None,
) -> "Layer":
    """The uncompressed bytes of a layer; its end comes only after the whole blob was read and `diff_id` holds.

    `through` may have them unpacked in another thread: they are counted and hashed where they are read.

    Raises:
        InputError: the media type is unknown; while reading: corrupt data, a bomb, bytes after the end.
        VerificationError: while reading: the bytes are not those that `diff_id` names.
    """
    kind = compression_of(media_type, name)
    if kind == Compression.NONE:
        return Layer(in_pieces(stream), limits.image_bytes, diff_id, name)
    unpacked = _Unpacker(in_pieces(stream), kind, limits, name)
    return Layer(through(unpacked) if through else unpacked, limits.image_bytes, diff_id, name)


class Layer(Poured):
    """The bytes of a layer: counts what comes out, and checks it at the end."""

    def __init__(self, source: Pieces, most: int, diff_id: Digest | None, name: str) -> None:
        self._source, self._most, self._diff_id, self._name = source, most, diff_id, name
        self._hash = hashlib.sha256()
        self.count = 0
        """Bytes so far."""

    def piece(self) -> bytes | memoryview:
        piece = self._source.piece()
        self.count += len(piece)
        if self.count > self._most:
            raise InputError(f"{self._name} is too large", cause=f"an image may hold {self._most} bytes uncompressed")
        if self._diff_id:
            self._hash.update(piece)
            if not piece and (found := of_hash(self._hash)) != self._diff_id:
                raise VerificationError(
                    f"{self._name} is not what the image's config names",
                    cause=f"{self._diff_id} expected, {found} came",
                )
        return piece

    def close(self) -> None:
        self._source.close()


class _Unpacker(Unpacked):
    """The pieces of all members or frames of a compressed stream.

    Input is handed to a decoder in growing pieces, so that many tiny frames cost no more than their
    bytes: a decoder copies what is left of its piece when its frame ends, or when its output is full.
    """

    def __init__(self, source: Pieces, kind: str, limits: Limits, name: str) -> None:
        self._source, self._limits, self._name = source, limits, name
        self._new, self._decode, self._faults = _zstd(limits) if kind == Compression.ZSTD else _gzip()
        self._decoder: Any = None
        self._input = memoryview(b"")
        self._low = self._high = 0
        self._feed = _FIRST_FEED
        self._in = self._out = self._frames = 0
        self._kind, self._full = kind, False

    def piece(self) -> bytes:
        # A frame may be a few bytes: together they are worth handing on.
        found, size = [], 0
        while size < _WORTH_HANDING and (data := self._step()) is not None:
            if data:
                found.append(data)
                size += len(data)
        return b"".join(found)

    def cut_off(self) -> None:
        cut_off(self._source)

    def close(self) -> None:
        self._source.close()

    def _step(self) -> bytes | None:
        """Some output, possibly none yet; None at the end."""
        if self._decoder is None and not self._begin():
            return None
        piece = b""
        if not self._hungry():
            pass
        elif self._low < self._high or self._more():
            piece = bytes(self._input[self._low : min(self._low + self._feed, self._high)])
            self._low += len(piece)
        else:
            raise self._broken("it is cut off")
        try:
            data: bytes = self._decode(self._decoder, piece)
        except self._faults as error:
            raise self._broken(str(error)) from error
        self._count(len(data))
        self._full = len(data) == BLOCK
        if self._decoder.eof:
            self._low -= len(self._decoder.unused_data)
            self._decoder, self._feed = None, _FIRST_FEED
        else:
            self._feed = min(2 * self._feed, _MOST_FEED)
        return data

    def _begin(self) -> bool:
        if self._low == self._high and not self._more():
            if not self._in:
                raise self._broken("it is empty")
            return False
        self._frames += 1
        if self._frames > self._limits.frames:
            raise self._broken(f"more than {self._limits.frames} parts")
        self._decoder, self._full = self._new(), False
        return True

    def _hungry(self) -> bool:
        """Whether the decoder has nothing to go on with. zlib does not say; a full block says it for it."""
        if self._kind == Compression.ZSTD:
            return bool(self._decoder.needs_input)
        return not self._decoder.unconsumed_tail and not self._full

    def _more(self) -> bool:
        self._input = memoryview(self._source.piece())
        self._low, self._high = 0, len(self._input)
        self._in += self._high
        return self._high > 0

    def _count(self, more: int) -> None:
        self._out += more
        check_expansion(self._out, self._in, self._limits, self._name)

    def _broken(self, cause: str) -> InputError:
        return InputError(f"{self._name} is not valid {self._kind}", cause=cause)


def expands_beyond(count: int, packed: int, limits: Limits) -> bool:
    """Whether no honest archive of `packed` bytes becomes `count` of them."""
    return count > _FREE + packed * limits.expansion


def check_expansion(count: int, packed: int, limits: Limits, name: str) -> None:
    """
    Raises:
        InputError: no honest archive of `packed` bytes becomes `count` of them.
    """
    if expands_beyond(count, packed, limits):
        raise InputError(
            f"{name} expands beyond all measure",
            cause=f"more than {limits.expansion} bytes for each compressed one",
            remedy="this is how a decompression bomb looks; the image is refused",
        )


def _gzip() -> tuple[Any, Any, Any]:
    import zlib

    zlib_like: Any = zlib
    faults: Any = (zlib.error,)
    try:
        from isal import isal_zlib
    except ImportError:
        pass
    else:
        zlib_like = isal_zlib
        faults = (zlib.error, isal_zlib.error)
    return lambda: zlib_like.decompressobj(_GZIP_WRAPPER), _decode_gzip, faults


def _decode_gzip(decoder: Any, piece: bytes) -> bytes:
    data: bytes = decoder.decompress(piece or decoder.unconsumed_tail, BLOCK)
    return data


def _zstd(limits: Limits) -> tuple[Any, Any, Any]:
    from ashore.mechanisms.images.zstandard import zstd

    options = {zstd.DecompressionParameter.window_log_max: limits.zstd_window_log}
    return (
        lambda: zstd.ZstdDecompressor(options=options),
        lambda decoder, piece: decoder.decompress(piece, BLOCK),
        (zstd.ZstdError,),
    )
