# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way: counted, hashed, unpacked, read ahead; and nothing left running."""

import contextlib
import gzip
import os
import struct
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore.errors import AshoreError, InputError, VerificationError
from ashore.mechanisms.images.compression import compression_of, open_layer
from ashore.mechanisms.images.crc64 import Crc64
from ashore.mechanisms.images.readahead import ReadAhead
from ashore.mechanisms.images.streams import BytesStream, CountedHashed, Readable, pipe, read_all
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.digest import Digest, of
from ashore.nouns.image import DOCKER_LAYER, OCI_LAYER
from ashore.nouns.limits import DEFAULT, MIB, Limits

DATA = os.urandom(5000) * 200
SKIPPABLE = struct.pack("<II", 0x184D2A50, 100) + b"x" * 100
GZIP, ZSTD = f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd"


def drain(source: Readable) -> bytes:
    data = bytearray()
    pipe(source, data.extend)
    return bytes(data)


def unpack(blob: bytes, media_type: str, *, limits: Limits = DEFAULT, diff_id: Digest | None = None) -> bytes:
    return drain(open_layer(BytesStream(blob), media_type, limits, diff_id))


def checked(data: bytes, *, digest: Digest | None = None, size: int | None = None) -> CountedHashed:
    return CountedHashed(
        BytesStream(data), digest=digest or of(data), size=len(data) if size is None else size, name="a blob"
    )


def test_the_right_bytes_pass() -> None:
    assert drain(checked(DATA)) == DATA
    assert drain(checked(b"")) == b""


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 0, 10**12])
def test_a_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(VerificationError, match="a blob has the wrong size"):
        drain(checked(DATA, size=size))


def test_too_much_is_refused_before_the_end_is_seen() -> None:
    class Endless:
        def readinto(self, buffer: bytearray | memoryview, /) -> int:
            return len(buffer)

        def close(self) -> None: ...

    with pytest.raises(VerificationError):
        drain(CountedHashed(Endless(), digest=of(b""), size=10, name="a blob"))


def test_wrong_bytes_are_refused_at_the_end() -> None:
    stream = checked(DATA, digest=of(b"other"))
    with pytest.raises(VerificationError, match="wrong digest"):
        drain(stream)


def test_read_all_holds_its_limit() -> None:
    assert read_all(BytesStream(b"abc"), limit=3, name="it") == b"abc"
    with pytest.raises(InputError, match="too large"):
        read_all(BytesStream(b"abcd"), limit=3, name="it")


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (OCI_LAYER, ""),
        (GZIP, "gzip"),
        (ZSTD, "zstd"),
        (DOCKER_LAYER, ""),
        (f"{DOCKER_LAYER}.gzip", "gzip"),
        (f"{DOCKER_LAYER}.zstd", "zstd"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"),
    ],
)
def test_media_types(media_type: str, kind: str) -> None:
    assert compression_of(media_type) == kind


@pytest.mark.parametrize("media_type", ["", "text/plain", f"{OCI_LAYER}+xz", f"{OCI_LAYER}+gzip+encrypted", "gzip"])
def test_other_media_types_are_refused(media_type: str) -> None:
    with pytest.raises(InputError, match="not the media type of a layer"):
        compression_of(media_type)


UNPACKED = {
    "plain": (OCI_LAYER, DATA, DATA),
    "gzip": (GZIP, gzip.compress(DATA), DATA),
    "gzip members": (GZIP, gzip.compress(DATA) + gzip.compress(b"") + gzip.compress(b"end"), DATA + b"end"),
    "many gzip members": (GZIP, b"".join(gzip.compress(b"%d" % n) for n in range(3000)),
                          b"".join(b"%d" % n for n in range(3000))),
    "gzip, very dense": (GZIP, gzip.compress(bytes(3 * MIB)), bytes(3 * MIB)),
    "zstd": (ZSTD, zstd.compress(DATA), DATA),
    "zstd frames": (ZSTD, zstd.compress(DATA) + SKIPPABLE + zstd.compress(b"") + zstd.compress(b"end") + SKIPPABLE,
                    DATA + b"end"),
    "many zstd frames": (ZSTD, b"".join(zstd.compress(DATA[n : n + 100]) for n in range(0, 300_000, 100)),
                         DATA[:300_000]),
    "zstd, very dense": (ZSTD, zstd.compress(bytes(10 * MIB)), bytes(10 * MIB)),
}  # fmt: skip


@pytest.mark.parametrize("case", UNPACKED)
@pytest.mark.parametrize("reader", ["isal", "zlib"])
def test_layers_are_unpacked(case: str, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reader == "zlib":
        monkeypatch.setitem(__import__("sys").modules, "isal", None)
    media_type, blob, data = UNPACKED[case]
    assert unpack(blob, media_type, diff_id=of(data)) == data


BROKEN = {
    "gzip cut off": (GZIP, gzip.compress(DATA)[:-1]),
    "gzip cut off in the middle": (GZIP, gzip.compress(DATA)[:2000]),
    "gzip with garbage": (GZIP, gzip.compress(DATA) + b"x"),
    "gzip with zeros": (GZIP, gzip.compress(DATA) + bytes(512)),
    "gzip with a wrong sum": (GZIP, gzip.compress(DATA)[:-8] + bytes(8)),
    "gzip of nothing": (GZIP, b""),
    "gzip that is none": (GZIP, DATA),
    "gzip that is zstd": (GZIP, zstd.compress(DATA)),
    "zstd cut off": (ZSTD, zstd.compress(DATA)[:-1]),
    "zstd with garbage": (ZSTD, zstd.compress(DATA) + b"x"),
    "zstd with zeros": (ZSTD, zstd.compress(DATA) + bytes(512)),
    "zstd of nothing": (ZSTD, b""),
    "zstd that is gzip": (ZSTD, gzip.compress(DATA)),
    "zstd with half a skippable frame": (ZSTD, zstd.compress(DATA) + SKIPPABLE[:50]),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("reader", ["isal", "zlib"])
def test_broken_layers_are_refused(case: str, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reader == "zlib":
        monkeypatch.setitem(__import__("sys").modules, "isal", None)
    media_type, blob = BROKEN[case]
    with pytest.raises(InputError, match="is not valid"):
        unpack(blob, media_type)


@pytest.mark.parametrize(("media_type", "pack"), [(GZIP, gzip.compress), (ZSTD, zstd.compress)])
def test_small_frames_fill_a_buffer_together(media_type: str, pack: Callable[[bytes], bytes]) -> None:
    layer = open_layer(BytesStream(b"".join(pack(b"%04d" % n) for n in range(1000))), media_type, DEFAULT, None)
    buffer = bytearray(3000)
    assert [layer.readinto(buffer) for _ in range(3)] == [3000, 1000, 0]


def test_another_diff_id_is_refused() -> None:
    with pytest.raises(VerificationError, match="not what the image's config names"):
        unpack(gzip.compress(DATA), GZIP, diff_id=of(b"other"))


@pytest.mark.parametrize("media_type", [GZIP, ZSTD])
def test_a_bomb_is_refused_while_it_goes_off(media_type: str) -> None:
    blob = zstd.compress(bytes(64 * MIB)) if media_type == ZSTD else gzip.compress(bytes(64 * MIB), 9)
    with pytest.raises(InputError, match="expands beyond"):
        unpack(blob, media_type, limits=Limits(expansion=100))
    with pytest.raises(InputError, match="too large"):
        unpack(blob, media_type, limits=Limits(image_bytes=8 * MIB, expansion=10**6))


def test_a_window_of_gigabytes_is_refused() -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    with pytest.raises(InputError, match="too much memory"):
        unpack(compressor.compress(DATA) + compressor.flush(), ZSTD)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([GZIP, ZSTD]), st.data())
def test_no_byte_makes_it_raise_anything_else(media_type: str, data: st.DataObject) -> None:
    blob = bytearray(gzip.compress(DATA[:6000]) if media_type == GZIP else zstd.compress(DATA[:6000]))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, min(len(blob) - 1, 60)))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(AshoreError):
        unpack(bytes(blob), media_type)


def test_reading_ahead_changes_nothing() -> None:
    source = ReadAhead(ReadAhead(BytesStream(DATA * 3)))
    assert drain(source) == DATA * 3
    assert source.readinto(bytearray(1)) == 0
    source.close()


def test_a_fault_ahead_is_raised_and_no_thread_stays() -> None:
    before = threading.active_count()
    source = ReadAhead(ReadAhead(checked(DATA, digest=of(b"other"))))
    with pytest.raises(VerificationError):
        drain(source)
    source.close()
    assert threading.active_count() == before


def test_closing_early_ends_the_threads() -> None:
    before = threading.active_count()
    source = ReadAhead(ReadAhead(BytesStream(bytes(20 * MIB))))
    assert source.readinto(bytearray(10)) == 10
    source.close()
    assert threading.active_count() == before


def _crc_by_the_byte(data: bytes) -> bytes:
    state = (1 << 64) - 1
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0xD800000000000000 if state & 1 else 0)
    return (state ^ ((1 << 64) - 1)).to_bytes(8, "big")


def test_crc64_is_gos() -> None:
    crc = Crc64()
    crc.update(b"123456789")
    assert crc.digest().hex() == "b90956c775a41001"  # the check value of CRC-64/GO-ISO


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=4))
def test_crc64_folds_as_it_should(parts: list[bytes]) -> None:
    crc = Crc64()
    for part in parts:
        crc.update(part)
    assert crc.digest() == _crc_by_the_byte(b"".join(parts))
