# SPDX-License-Identifier: Apache-2.0
"""Layers being written: entries go in, a compressed blob with its digests comes out.

The same entries give the same bytes on any machine: gzip has no time and comes from zlib alone (igzip's
output depends on the processor), zstd runs in one thread.
"""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from ashore.errors import UsageError
from ashore.mechanisms.images.blobfiles import FilePart
from ashore.mechanisms.images.streams import CountedHashed, Readable, pipe
from ashore.mechanisms.images.tarwrite import END, header, padding
from ashore.mechanisms.newfile import write_fault
from ashore.nouns.digest import Digest, of_hash
from ashore.nouns.image import COMPRESSIONS, OCI_LAYER, Descriptor
from ashore.nouns.layer import TarEntry
from ashore.nouns.ports import Stream

GZIP_LEVEL, ZSTD_LEVEL = 6, 6
_GZIP_WRAPPER = 31


class Blob:
    """A nameless temporary file, counted and hashed while it is written. Gone when it is closed."""

    def __init__(self) -> None:
        with write_fault("a temporary file"):
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        with write_fault("a temporary file"):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
        self._hash.update(data)
        self.size += len(data)

    def descriptor(self, media_type: str, annotations: Mapping[str, str]) -> Descriptor:
        """What it holds now."""
        digest = of_hash(self._hash)
        return Descriptor(media_type=media_type, digest=digest, size=self.size, annotations=annotations)

    def open(self, descriptor: Descriptor) -> Stream:
        """Read it from its beginning."""
        part = FilePart(os.dup(self._file.fileno()), 0, self.size)
        return CountedHashed(part, digest=descriptor.digest, size=descriptor.size, name="the new layer")

    def close(self) -> None:
        self._file.close()


class LayerFile(Protocol):
    """A layer in the making. `add` in the order of the archive, then `finish`."""

    blob: Blob

    def add(self, entry: TarEntry, content: Readable | None) -> None:
        """One entry; a file's `content` has exactly its size."""
        ...

    def finish(self) -> tuple[Descriptor, Digest]:
        """The layer's descriptor and diff_id."""
        ...


def new_layer(compression: str, level: int | None) -> LayerFile:
    """An empty layer.

    Raises:
        UsageError: there is no such compression, or it has no such level.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"unknown compression {compression!r}", remedy=f"one of {', '.join(COMPRESSIONS)}")
    most = 9 if compression == "gzip" else 22
    if level is not None and not 1 <= level <= most:
        raise UsageError(f"{compression} has no level {level}", remedy=f"1 to {most}")
    if compression == "zstd:chunked":
        from ashore.mechanisms.images.chunked import ChunkedLayer

        return ChunkedLayer(level or ZSTD_LEVEL)
    return _WholeLayer(compression, level)


class _WholeLayer:
    """The whole archive through one compressor."""

    def __init__(self, compression: str, level: int | None) -> None:
        self.blob = Blob()
        self._media_type = OCI_LAYER if compression == "none" else f"{OCI_LAYER}+{compression}"
        self._diff = hashlib.sha256()
        self._compressor: Any = None
        if compression == "gzip":
            self._compressor = zlib.compressobj(level or GZIP_LEVEL, zlib.DEFLATED, _GZIP_WRAPPER)
        elif compression == "zstd":
            from ashore.mechanisms.images.zstandard import zstd

            self._compressor = zstd.ZstdCompressor(level=level or ZSTD_LEVEL)

    def add(self, entry: TarEntry, content: Readable | None) -> None:
        self._write(header(entry))
        if content is not None:
            pipe(content, self._write)
            self._write(padding(entry.size))

    def finish(self) -> tuple[Descriptor, Digest]:
        self._write(END)
        if self._compressor:
            self.blob.write(self._compressor.flush())
        return self.blob.descriptor(self._media_type, {}), of_hash(self._diff)

    def _write(self, data: bytes | memoryview) -> None:
        self._diff.update(data)
        self.blob.write(self._compressor.compress(data) if self._compressor else data)
