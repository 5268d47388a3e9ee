# SPDX-License-Identifier: Apache-2.0
"""Images in memory: a store that reads and writes them, a sink for their files, and archives made by hand."""

import gzip
from collections.abc import Mapping, Sequence

import msgspec

from ashore.errors import InputError
from ashore.mechanisms.images.streams import BytesStream, CountedHashed, read_all
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.digest import Digest, of
from ashore.nouns.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    ConfigSection,
    Descriptor,
    ImageConfig,
    Manifest,
    Platform,
    RootFs,
)
from ashore.nouns.limits import GIB
from ashore.nouns.ports import Stream

AMD64 = Platform("amd64")
END = bytes(1024)


class Silent:
    """`ports.Progress` that remembers what was said and how far each item came."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.amounts: dict[str, int] = {}
        self.ended: list[str] = []

    def begin(self, name: str, total: int) -> None:
        self.amounts[name] = 0

    def advance(self, name: str, amount: int) -> None:
        self.amounts[name] += amount

    def end(self, name: str) -> None:
        self.ended.append(name)

    def say(self, line: str) -> None:
        self.said.append(line)


class MemoryStore:
    """`ports.ImageReader` and `ports.ImageWriter` in memory."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[Digest, tuple[str, bytes]] = {}
        self.named: Descriptor | None = None
        self.opened = 0
        self.closed = 0

    def resolve(self) -> Descriptor:
        if self.named is None:
            raise InputError("there is no image")
        return self.named

    def manifest(self, digest: Digest) -> tuple[str, bytes]:
        if digest not in self.manifests:
            raise InputError(f"there is no manifest {digest}")
        return self.manifests[digest]

    def blob(self, descriptor: Descriptor) -> Stream:
        if descriptor.digest not in self.blobs:
            raise InputError(f"there is no blob {descriptor.digest}")
        self.opened += 1
        source = _Closing(self, self.blobs[descriptor.digest])
        return CountedHashed(source, digest=descriptor.digest, size=descriptor.size, name="a blob")

    def has_blob(self, descriptor: Descriptor) -> bool:
        return len(self.blobs.get(descriptor.digest, b"")) == descriptor.size and descriptor.digest in self.blobs

    def put_blob(self, descriptor: Descriptor, stream: Stream) -> None:
        self.blobs[descriptor.digest] = read_all(stream, limit=GIB, name="a blob")

    def put_manifest(self, media_type: str, data: bytes, *, named: bool) -> Digest:
        digest = of(data)
        self.manifests[digest] = (media_type, data)
        if named:
            self.named = Descriptor(media_type=media_type, digest=digest, size=len(data))
        return digest

    def add(self, media_type: str, data: bytes) -> Descriptor:
        """Store a blob."""
        self.blobs[of(data)] = data
        return Descriptor(media_type=media_type, digest=of(data), size=len(data))


class _Closing(BytesStream):
    def __init__(self, store: MemoryStore, data: bytes) -> None:
        super().__init__(data)
        self._store: MemoryStore | None = store

    def close(self) -> None:
        if self._store:
            self._store.closed += 1
        self._store = None
        super().close()


class MemorySink:
    """`ports.ContentSink` in memory: `files` by path, and what was asked for on the way."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.digests: dict[Digest, bytes] = {}
        self.open = 0

    def create(self, path: str, size: int) -> "_Content":
        assert path not in self.files, f"{path} was not discarded before it was created again"
        self.open += 1
        return _Content(self, path, size)

    def discard(self, path: str) -> None:
        data = self.files.pop(path)
        if data not in self.files.values():
            del self.digests[of(data)]


class _Content:
    def __init__(self, sink: MemorySink, path: str, size: int) -> None:
        self._sink, self._path, self._size, self._data = sink, path, size, bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        self._data += data

    def commit(self, digest: Digest, size: int) -> None:
        assert (size, digest) == (len(self._data), of(bytes(self._data)))
        assert size == self._size
        self._sink.open -= 1
        self._sink.files[self._path] = bytes(self._data)
        self._sink.digests[digest] = bytes(self._data)

    def abort(self) -> None:
        self._sink.open -= 1


def compress(tar: bytes, compression: str) -> tuple[str, bytes]:
    """Media type and blob of a layer."""
    if compression == "gzip":
        return f"{OCI_LAYER}+gzip", gzip.compress(tar, mtime=0)
    if compression == "zstd":
        return f"{OCI_LAYER}+zstd", zstd.compress(tar)
    return OCI_LAYER, tar


def put_image(
    store: MemoryStore,
    layers: Sequence[bytes],
    *,
    compression: str = "gzip",
    labels: Mapping[str, str] | None = None,
    platform: Platform = AMD64,
    named: bool = True,
) -> Descriptor:
    """Store an image of these uncompressed layers, lowest first."""
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=ConfigSection(labels=labels),
        rootfs=RootFs(type="layers", diff_ids=tuple(of(layer) for layer in layers)),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        config=store.add(OCI_CONFIG, msgspec.json.encode(config)),
        layers=tuple(store.add(*compress(layer, compression)) for layer in layers),
    )
    data = msgspec.json.encode(manifest)
    digest = store.put_manifest(OCI_MANIFEST, data, named=named)
    return Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(data), platform=platform)


def member(
    name: str | bytes,
    data: bytes = b"",
    *,
    kind: bytes = b"0",
    target: str | bytes = b"",
    mode: bytes = b"0000644",
    uid: bytes = b"0000000",
    gid: bytes = b"0000000",
    size: bytes | None = None,
    checksum: bytes | None = None,
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """One member of an archive, every field as it is given."""
    fields = {
        0: _bytes(name)[:100],
        100: mode,
        108: uid,
        116: gid,
        124: b"%011o" % len(data) if size is None else size,
        136: b"%011o" % 0,
        148: b" " * 8,
        156: kind,
        157: _bytes(target)[:100],
        257: magic,
        345: prefix,
    }
    block = bytearray(512)
    for at, value in fields.items():
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block) + data + bytes(-len(data) % 512)


def pax(kind: bytes = b"x", **records: bytes) -> bytes:
    """An extended header. In keys a double underscore stands for a dot."""
    lines = [pax_record(key.replace("__", ".").encode(), value) for key, value in records.items()]
    return member("pax", b"".join(lines), kind=kind)


def pax_record(key: bytes, value: bytes) -> bytes:
    size = next(n for n in range(len(key) + len(value) + 3, 10**7) if len(b"%d %s=%s\n" % (n, key, value)) == n)
    return b"%d %s=%s\n" % (size, key, value)


def folder(name: str, mode: bytes = b"0000755") -> bytes:
    return member(name.rstrip("/") + "/", kind=b"5", mode=mode)


def symlink(name: str, target: str) -> bytes:
    return member(name, kind=b"2", target=target)


def hardlink(name: str, target: str) -> bytes:
    return member(name, kind=b"1", target=target)


def layer(*members: bytes) -> bytes:
    """An archive of these members, with its end."""
    return b"".join(members) + END


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
