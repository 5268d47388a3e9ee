# SPDX-License-Identifier: Apache-2.0
"""zstd:chunked layers: every file in a frame of its own, and a table of contents at the end.

To all others it is a zstd layer; podman, and whoever knows the table, reads single files by range.
Source: containers/storage, docs/containers-storage-zstd-chunked.md and pkg/chunked; vbatts/tar-split.
"""

import base64
import hashlib
import struct
from typing import Any

import msgspec

from ashore.mechanisms.images.compactindex import encode
from ashore.mechanisms.images.crc64 import Crc64
from ashore.mechanisms.images.layerfile import Blob
from ashore.mechanisms.images.streams import Readable, pipe
from ashore.mechanisms.images.table import PREFIXES, TocEntry
from ashore.mechanisms.images.tarwrite import END, header, padding
from ashore.nouns.delta import INDEX
from ashore.nouns.digest import Digest, of, of_hash
from ashore.nouns.image import OCI_LAYER, Descriptor
from ashore.nouns.layer import Member, TarEntry

_SKIPPABLE = 0x184D2A50
_FOOTER_MAGIC = b"GNUlInUx"
_ZSTD_CHUNKED = 1
_FILE, _SEGMENT = 1, 2
_TYPES = {Member.FILE: "reg", Member.DIR: "dir", Member.SYMLINK: "symlink", Member.HARDLINK: "hardlink"}
_EPOCH = "1970-01-01T00:00:00Z"


class _Split(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A piece of the archive as tar-split has it: raw bytes, or a file whose content lies elsewhere."""

    type: int
    name: str = ""
    size: int = 0
    payload: str | None = None
    position: int


class ChunkedLayer:
    """A `layerfile.LayerFile`."""

    def __init__(self, level: int) -> None:
        from ashore.mechanisms.images.zstandard import zstd

        self.blob = Blob()
        self._diff = hashlib.sha256()
        self._zstd: Any = zstd.ZstdCompressor(level=level)
        self._pending = bytearray()  # archive bytes between contents
        self._segment = bytearray()  # the same, for tar-split: it ends at each header
        self._toc: list[TocEntry] = []
        self._splits: list[_Split] = []

    def add(self, entry: TarEntry, content: Readable | None) -> None:
        self._raw(header(entry))
        self._end_segment()
        listed = _listed(entry)
        self._toc.append(listed)
        if content is None or not entry.size:
            self._split(_FILE, name=listed.name, payload=base64.b64encode(Crc64().digest()).decode())
            return
        self._flush()
        listed.offset = self.blob.size
        listed.digest, crc = self._content(content, entry.size)
        listed.end_offset = self.blob.size
        self._split(_FILE, name=listed.name, size=entry.size, payload=base64.b64encode(crc).decode())
        self._raw(padding(entry.size))

    def finish(self) -> tuple[Descriptor, Digest]:
        self._raw(END)
        self._end_segment()
        self._flush()
        lines = b"".join(msgspec.json.encode(split) + b"\n" for split in self._splits)
        split = self._frame(lines)
        toc = msgspec.json.encode({"version": 1, "entries": self._toc, "tarSplitDigest": of(split)})
        table = self._frame(toc)
        toc_at, split_at = self._skippable(table), self._skippable(split)
        numbers = (toc_at, len(table), len(toc), _ZSTD_CHUNKED, split_at, len(split), len(lines))
        self._skippable(struct.pack("<7Q", *numbers) + _FOOTER_MAGIC)
        values = {
            "manifest-checksum": of(table),
            "manifest-position": f"{toc_at}:{len(table)}:{len(toc)}:{_ZSTD_CHUNKED}",
            "tarsplit-position": f"{split_at}:{len(split)}:{len(lines)}",
        }
        annotations = {prefix + key: value for prefix in PREFIXES for key, value in values.items()}
        if (index := encode(self._toc)) is not None:
            annotations[INDEX] = of(index)
        return self.blob.descriptor(f"{OCI_LAYER}+zstd", annotations), of_hash(self._diff)

    def _content(self, content: Readable, size: int) -> tuple[str, bytes]:
        crc, hashed = Crc64(), hashlib.sha256()
        self._zstd.set_pledged_input_size(size)

        def write(block: memoryview) -> None:
            self._diff.update(block)
            crc.update(block)
            hashed.update(block)
            self.blob.write(self._zstd.compress(block))

        pipe(content, write)
        self.blob.write(self._zstd.flush(self._zstd.FLUSH_FRAME))
        return of_hash(hashed), crc.digest()

    def _raw(self, data: bytes) -> None:
        self._diff.update(data)
        self._pending += data
        self._segment += data

    def _flush(self) -> None:
        self.blob.write(self._frame(bytes(self._pending)))
        self._pending.clear()

    def _end_segment(self) -> None:
        self._split(_SEGMENT, payload=base64.b64encode(self._segment).decode())
        self._segment.clear()

    def _split(self, kind: int, *, name: str = "", size: int = 0, payload: str) -> None:
        self._splits.append(_Split(type=kind, name=name, size=size, payload=payload, position=len(self._splits)))

    def _frame(self, data: bytes) -> bytes:
        frame: bytes = self._zstd.compress(data, self._zstd.FLUSH_FRAME)
        return frame

    def _skippable(self, data: bytes) -> int:
        """Write a frame that decompressors pass over; returns where its data begins."""
        self.blob.write(struct.pack("<II", _SKIPPABLE, len(data)))
        at = self.blob.size
        self.blob.write(data)
        return at


def _listed(entry: TarEntry) -> TocEntry:
    return TocEntry(
        type=_TYPES[entry.kind],
        name=entry.name + ("/" if entry.kind is Member.DIR else ""),
        link_name=entry.target,
        mode=entry.mode,
        size=entry.size,
        uid=entry.uid,
        gid=entry.gid,
        modtime=_EPOCH,
        xattrs={name: base64.b64encode(value).decode() for name, value in entry.xattrs.items()},
    )
