# SPDX-License-Identifier: Apache-2.0
"""The smallest shared library that has a name: enough for whoever looks for its SONAME."""

import struct


def library(soname: str, padding: str = "") -> bytes:
    """A 64-bit little-endian ELF file; `padding` makes another content of it."""
    base, dynamic_at, strings_at = 0x1000, 0x100, 0x200
    strings = b"\0" + soname.encode() + b"\0"
    dynamic = struct.pack("<6Q", 5, base + strings_at, 14, 1, 0, 0)
    end = strings_at + len(strings)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, base, base, end, end, 0x1000)
    table = struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, base + dynamic_at, 0, len(dynamic), len(dynamic), 8)
    data = bytearray(end)
    data[: len(head)], data[64 : 64 + 112] = head, load + table
    data[dynamic_at : dynamic_at + len(dynamic)], data[strings_at:end] = dynamic, strings
    return bytes(data) + padding.encode()
