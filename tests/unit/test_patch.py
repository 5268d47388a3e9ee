# SPDX-License-Identifier: Apache-2.0
"""Patches make what they were made for, out of what they were made from, by windows; anything else is refused."""

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashore.errors import InputError
from ashore.mechanisms.images import patch
from ashore.mechanisms.images.patch import BytesContent, FileContent, apply, make
from ashore.mechanisms.images.streams import BytesStream
from ashore.mechanisms.images.zstandard import zstd
from ashore.nouns.delta import CONTEXT, SEGMENT, Patch
from ashore.nouns.digest import of
from ashore.nouns.limits import DEFAULT, KIB, MIB

HEAD = struct.Struct("<QII")


def made(old: bytes, new: bytes) -> bytes:
    out = bytearray()
    assert make(BytesContent(old), BytesContent(new), out.extend, most=1 << 40) == len(out)
    return bytes(out)


def described(old: bytes, new: bytes, data: bytes) -> Patch:
    return Patch(of(old), of(new), len(old), len(new), 0, len(data))


def applied(old: bytes, size: int, data: bytes, segment: int = SEGMENT) -> bytes:
    out = bytearray()
    what = Patch(of(old), of(b""), len(old), size, 0, len(data))
    apply(BytesStream(data), what, segment, BytesContent(old), out.extend, DEFAULT)
    return bytes(out)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.binary(min_size=1, max_size=3000), st.integers(0, 3000))
def test_what_was_made_is_made_again(old: bytes, new: bytes, shared: int) -> None:
    new = old[:shared] + new + old[shared:]
    assert applied(old, len(new), made(old, new)) == new


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    """Two versions of 13 MB: bytes changed here and there, and 3 MiB put in, so that what follows lies elsewhere."""
    numbers = random.Random(1)
    old = numbers.randbytes(10 * MIB)
    new = bytearray(old)
    for _ in range(100):
        new[numbers.randrange(len(new))] ^= 1
    return old, bytes(new[: 5 * MIB]) + numbers.randbytes(3 * MIB) + bytes(new[5 * MIB :])


def test_what_moved_is_found(pair: tuple[bytes, bytes]) -> None:
    old, new = pair
    data = made(old, new)
    assert len(data) < 3.6 * MIB, "little more than what was put in"
    assert applied(old, len(new), data) == new


def test_a_file_is_read_by_windows(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    old, new = pair
    contents = []
    for name, whole in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(whole)
        contents.append(Watched(tmp_path / name))
    out = bytearray()
    make(contents[0], contents[1], out.extend, most=len(new))
    result = bytearray()
    apply(BytesStream(bytes(out)), described(old, new, bytes(out)), SEGMENT, contents[0], result.extend, DEFAULT)
    assert result == new
    assert max(length for content in contents for length in content.asked) <= SEGMENT + 2 * CONTEXT


class Watched:
    """A file that remembers how much was asked for at once."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.asked: list[int] = []
        self._file = path.open("rb")

    def read(self, start: int, length: int) -> bytes:
        self.asked.append(length)
        return FileContent(self._file.fileno(), self.size).read(start, length)


def test_no_more_is_written_than_the_content_itself_takes() -> None:
    noise = random.Random(2).randbytes(100 * KIB)
    out = bytearray()
    assert make(BytesContent(b"another content"), BytesContent(noise), out.extend, most=50 * KIB) is None
    assert len(out) < 50 * KIB


OLD = random.Random(3).randbytes(MIB)
NEW = OLD[:500] + b"changed" + OLD[500:]


def segments(data: bytes) -> list[tuple[int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        start, window, length = HEAD.unpack_from(data, at)
        found.append((start, window, data[at + HEAD.size : at + HEAD.size + length]))
        at += HEAD.size + length
    return found


def packed(start: int, window: int, frame: bytes, length: int | None = None) -> bytes:
    return HEAD.pack(start, window, len(frame) if length is None else length) + frame


def bomb(size: int) -> bytes:
    data: bytes = zstd.compress(bytes(size), 19)
    return data


(START, WINDOW, FRAME), *_ = segments(made(OLD, NEW))

WRONG = {
    "cut in its head": made(OLD, NEW)[:10],
    "cut in its frame": made(OLD, NEW)[:-1],
    "nothing": b"",
    "more after its end": made(OLD, NEW) + b"x",
    "another segment after its end": made(OLD, NEW) * 2,
    "a window beyond the old content": packed(START + 1, WINDOW, FRAME),
    "a window far beyond": packed(2**63, WINDOW, FRAME),
    "a window of 4 GiB": packed(0, 2**32 - 1, FRAME),
    "a window as large as it may not be": packed(0, DEFAULT.delta_window + 1, FRAME),
    "a frame of 4 GiB": packed(START, WINDOW, FRAME, 2**32 - 1),
    "an empty frame": packed(START, WINDOW, b""),
    "no frame": packed(START, WINDOW, b"not zstd at all"),
    "a frame of more": packed(START, WINDOW, bomb(len(NEW) + 1)),
    "a bomb": packed(START, WINDOW, bomb(1 << 30)),
    "a frame of less": packed(START, WINDOW, bomb(len(NEW) - 1)),
    "two frames": packed(START, WINDOW, bomb(1000) + bomb(len(NEW) - 1000)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_patch_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        applied(OLD, len(NEW), WRONG[name])


@pytest.mark.parametrize("segment", [0, 1, -1, 64 * KIB, 9 * MIB, 2**40])
def test_segments_are_neither_tiny_nor_huge(segment: int) -> None:
    with pytest.raises(InputError, match="segments of"):
        applied(OLD, len(NEW), made(OLD, NEW), segment)


def test_a_patch_for_a_content_of_another_size_is_not_tried() -> None:
    with pytest.raises(InputError, match="another size"):
        what = Patch(of(OLD), of(NEW), len(OLD) + 1, len(NEW), 0, 1)
        apply(BytesStream(b"x"), what, SEGMENT, BytesContent(OLD), bytearray().extend, DEFAULT)


def test_the_window_that_a_frame_asks_for_is_bounded() -> None:
    """A frame that names a window of 1 GiB in its header would have that much set aside."""
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(b"x" * len(NEW)) + compressor.flush()
    with pytest.raises(InputError, match="corrupt"):
        applied(OLD, len(NEW), packed(0, 100, frame))


def test_a_wrong_window_gives_another_content_or_none() -> None:
    with pytest.raises(InputError):
        if applied(OLD, len(NEW), packed(0, 1000, FRAME)) != NEW:
            raise InputError("which its digest tells")


def test_an_old_content_that_cannot_be_read_is_a_reason_to_pass_the_patch_over() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        FileContent(9999, 100).read(0, 10)


def test_frames_are_asked_for_in_turn_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = 0
    most = 0
    real = patch._segment

    def counted(*given: object) -> bytes:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return real(*given)  # type: ignore[arg-type]

    def write(data: bytes) -> None:
        nonlocal waiting
        waiting -= 1

    monkeypatch.setattr(patch, "SEGMENT", MIB)
    monkeypatch.setattr(patch, "_segment", counted)
    content = BytesContent(bytes(40 * MIB))
    make(content, content, write, most=1 << 40)
    assert 0 < most <= 2 * patch._WORKERS
