# SPDX-License-Identifier: Apache-2.0
"""Compressed layers that are broken, or that grow: bombs are made when they are used, and are small until then."""

import gzip
import lzma
import struct
from collections.abc import Callable

import msgspec

from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.digest import of
from ashore.nouns.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, ConfigSection, ImageConfig, Manifest, RootFs
from ashore.nouns.limits import DEFAULT, MIB, Limits
from tests.fakes.images import MemoryStore, layer, member
from tests.hostile.images.case import Case, Put

TAR = layer(member("srv/x", b"x" * 3000))
GZIP, ZSTD = f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd"
Blob = Callable[[], bytes]


def raw(*blobs: tuple[str, Blob], diff: bytes = TAR) -> Put:
    """An image of these media types and blobs, which the config says are `diff`."""

    def put(store: MemoryStore) -> None:
        labels = ConfigSection(labels={"io.ashore.root": "/"})
        roots = RootFs(type="layers", diff_ids=tuple(of(diff) for _ in blobs))
        config = ImageConfig(architecture="amd64", os="linux", config=labels, rootfs=roots)
        manifest = Manifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=store.add(OCI_CONFIG, msgspec.json.encode(config)),
            layers=tuple(store.add(media_type, blob()) for media_type, blob in blobs),
        )
        store.put_manifest(OCI_MANIFEST, msgspec.json.encode(manifest), named=True)

    return put


def broken(media_type: str, blob: bytes, says: str, diff: bytes = TAR) -> Case:
    """A layer of this blob, which the config says is `diff` when it is unpacked."""
    return Case(raw((media_type, lambda: blob), diff=diff), says=says, layer=1)


def huge(size: int) -> bytes:
    """The beginning of an archive whose one file is `size` zeros."""
    return member("srv/bomb", size=b"%011o" % size)


def gzip_bomb(size: int) -> bytes:
    return gzip.compress(huge(size) + bytes(size) + bytes(1024), mtime=0)


def zstd_bomb(size: int) -> bytes:
    blob: bytes = zstd.compress(huge(size) + bytes(size) + bytes(1024))
    return blob


def _crc_flipped(blob: bytes) -> bytes:
    return blob[:-8] + bytes([blob[-8] ^ 1]) + blob[-7:]


GOOD_GZIP, GOOD_ZSTD = gzip.compress(TAR, mtime=0), zstd.compress(TAR)
_WINDOW_OF_2_GIB = bytes.fromhex("28b52ffd00a8") + b"\x01\0\0"
_SIX = huge(6 * MIB) + bytes(6 * MIB) + bytes(1024)
_SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"

CASES: dict[str, Case] = {
    "gzip cut off": broken(GZIP, GOOD_GZIP[:-9], "gzip"),
    "gzip without its trailer": broken(GZIP, GOOD_GZIP[:-8], "cut off"),
    "gzip of half a header": broken(GZIP, GOOD_GZIP[:5], "gzip"),
    "gzip of nothing": broken(GZIP, b"", "empty"),
    "gzip with a wrong checksum": broken(GZIP, _crc_flipped(GOOD_GZIP), "gzip"),
    "gzip with a wrong length": broken(GZIP, GOOD_GZIP[:-4] + b"\xff\xff\xff\xff", "gzip"),
    "gzip with a flipped bit": broken(GZIP, GOOD_GZIP[:30] + bytes([GOOD_GZIP[30] ^ 0x55]) + GOOD_GZIP[31:], ""),
    "gzip and bytes after it": broken(GZIP, GOOD_GZIP + b"and a word", "gzip"),
    "gzip and zeros after it": broken(GZIP, GOOD_GZIP + bytes(512), "gzip"),
    "gzip and a second archive": broken(GZIP, GOOD_GZIP + gzip.compress(TAR), "after the end"),
    "gzip of a method that is none": broken(GZIP, b"\x1f\x8b\x07" + GOOD_GZIP[3:], "gzip"),
    "gzip with an endless name": broken(GZIP, b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * MIB, "gzip"),
    "gzip of a hundred thousand empty members": broken(GZIP, gzip.compress(b"") * 100_000, "cut off", b""),
    "gzip of noise": broken(GZIP, bytes(range(256)) * 16, "gzip"),
    "zstd cut off": broken(ZSTD, GOOD_ZSTD[:-2], "zstd"),
    "zstd of nothing": broken(ZSTD, b"", "empty"),
    "zstd with a flipped bit": broken(ZSTD, GOOD_ZSTD[:12] + bytes([GOOD_ZSTD[12] ^ 0x55]) + GOOD_ZSTD[13:], ""),
    "zstd and bytes after it": broken(ZSTD, GOOD_ZSTD + b"and a word", "zstd"),
    "zstd with a window of 2 GiB": broken(ZSTD, _WINDOW_OF_2_GIB, "zstd"),
    "zstd of skippable frames": broken(ZSTD, _SKIPPABLE * 30_000, "cut off", b""),
    "zstd that needs a dictionary": broken(ZSTD, bytes.fromhex("28b52ffd0358ffffffff") + b"\x01\0\0", "zstd"),
    "zstd of noise": broken(ZSTD, bytes(range(256)) * 16, "zstd"),
    "plain called gzip": broken(GZIP, TAR, "gzip"),
    "plain called zstd": broken(ZSTD, TAR, "zstd"),
    "gzip called plain": broken(OCI_LAYER, GOOD_GZIP, "cut off", GOOD_GZIP),
    "gzip called zstd": broken(ZSTD, GOOD_GZIP, "zstd"),
    "zstd called gzip": broken(GZIP, GOOD_ZSTD, "gzip"),
    "xz called gzip": broken(GZIP, lzma.compress(TAR), "gzip"),
    "a layer of nothing": broken(OCI_LAYER, b"", "cut off", b""),
    "a zstd bomb": Case(
        raw((ZSTD, lambda: zstd_bomb(64 * MIB))), says="expands beyond", layer=1, most_written=32 * MIB),
    "a zstd bomb of frames": Case(
        raw((ZSTD, lambda: zstd.compress(huge(8 << 30)) + zstd.compress(bytes(8 * MIB)) * 20)),
        says="expands beyond", layer=1, most_written=32 * MIB),
    "a gzip bomb": Case(
        raw((GZIP, lambda: gzip_bomb(48 * MIB))), says="expands beyond", layer=1, most_written=24 * MIB,
        limits=Limits(expansion=100)),
    "a gzip bomb within any ratio": Case(
        raw((GZIP, lambda: gzip_bomb(24 * MIB))), says="too large", layer=1, most_written=9 * MIB,
        limits=Limits(image_bytes=8 * MIB)),
    "many layers that grow together": Case(
        raw(*[(GZIP, lambda: gzip.compress(_SIX, mtime=0)) for _ in range(2)], diff=_SIX),
        says="too large", layer=2, most_written=17 * MIB, limits=Limits(image_bytes=8 * MIB)),
    "a file as large as all disks": Case(
        raw((GZIP, lambda: gzip.compress(huge(7 << 30) + bytes(1024))), diff=huge(7 << 30) + bytes(1024)),
        says="cut off", layer=1),
    "too many gzip members": Case(
        raw((GZIP, lambda: gzip.compress(b"") * 2000), diff=b""), says="parts", layer=1, limits=Limits(frames=1000)),
    "too many zstd frames": Case(
        raw((ZSTD, lambda: zstd.compress(b"") * 2000), diff=b""), says="parts", layer=1, limits=Limits(frames=1000)),
    "not what the config names": Case(
        raw((GZIP, lambda: GOOD_GZIP), diff=layer(member("srv/other", b"x"))), code=5, says="config names", layer=1),
    "less than the config names": Case(
        raw((OCI_LAYER, lambda: layer(member("srv/y", b"y"))), diff=TAR), code=5, says="config names", layer=1),
}  # fmt: skip
assert DEFAULT.expansion >= 1032, "gzip itself ends at 1,032, so an honest image must not be taken for a bomb"
