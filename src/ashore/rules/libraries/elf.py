# SPDX-License-Identifier: Apache-2.0
"""The SONAME of a shared library: what programs ask the linker for. Pure: bytes come through what is passed in.

Source: elf(5). Whatever does not fit is no library; nothing is believed beyond the bounds here.
"""

import struct
from collections.abc import Callable

Read = Callable[[int, int], bytes]
"""Offset and length -> at most so many bytes of the file."""

_MOST_HEADERS = 128
_MOST_DYNAMIC = 64 << 10
_LONGEST_NAME = 255
_LOAD, _DYNAMIC = 1, 2
_END, _STRTAB, _SONAME = 0, 5, 14


def soname(read: Read) -> str:
    """The SONAME; empty for what has none, or is no ELF file."""
    head = read(0, 64)
    if len(head) < 52 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return ""
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    try:
        return _soname(read, head, wide, order)
    except (struct.error, UnicodeDecodeError, OverflowError):
        return ""


def _soname(read: Read, head: bytes, wide: bool, order: str) -> str:
    if wide:
        (at,) = struct.unpack_from(order + "Q", head, 32)
        size, count = struct.unpack_from(order + "HH", head, 54)
    else:
        (at,) = struct.unpack_from(order + "I", head, 28)
        size, count = struct.unpack_from(order + "HH", head, 42)
    headers = read(at, size * min(count, _MOST_HEADERS))
    segments = [_segment(headers, number * size, wide, order) for number in range(min(count, _MOST_HEADERS))]
    loads = [segment for segment in segments if segment[0] == _LOAD]
    for kind, offset, _, length in segments:
        if kind == _DYNAMIC:
            tags = _tags(read(offset, min(length, _MOST_DYNAMIC)), wide, order)
            if _SONAME in tags and _STRTAB in tags:
                name = read(_in_file(tags[_STRTAB], loads) + tags[_SONAME], _LONGEST_NAME + 1)
                return name.partition(b"\0")[0].decode() if b"\0" in name else ""
    return ""


def _segment(headers: bytes, at: int, wide: bool, order: str) -> tuple[int, int, int, int]:
    """Type, offset in the file, address, length in the file."""
    if wide:
        kind, _, offset, address, _, length = struct.unpack_from(order + "IIQQQQ", headers, at)
    else:
        kind, offset, address, _, length = struct.unpack_from(order + "IIIII", headers, at)
    return kind, offset, address, length


def _tags(data: bytes, wide: bool, order: str) -> dict[int, int]:
    found: dict[int, int] = {}
    step = 16 if wide else 8
    for at in range(0, len(data) - step + 1, step):
        tag, value = struct.unpack_from(order + ("QQ" if wide else "II"), data, at)
        if tag == _END:
            break
        found.setdefault(tag, value)
    return found


def _in_file(address: int, loads: list[tuple[int, int, int, int]]) -> int:
    """Where in the file a loaded address comes from; the address itself where no segment has it."""
    for _, offset, start, length in loads:
        if start <= address < start + length:
            return address - start + offset
    return address
