# SPDX-License-Identifier: Apache-2.0
"""The compact index of a zstd:chunked layer: its table of contents as lines that change where the layer changed.

The table names absolute offsets, so that one byte more in an early file changes every line after it. Here each
entry is a JSON array on a line of its own with the gap before its frames and their length: two versions' indexes
differ as much as the versions do. The layer's descriptor names the index's digest (`nouns.delta.INDEX`), so an
index that was made out of an older one is as sure as the manifest.
"""

from collections.abc import Iterable, Iterator

import msgspec

from ashore.errors import NOT_DECODED, InputError
from ashore.mechanisms.images.table import TocEntry

_Line = tuple[str, str, str, int, int, int, int, str, int, int, dict[str, str]]
"""Type, name, link's target, mode, owner, group, size, digest, gap, length, attributes."""


def encode(entries: Iterable[TocEntry]) -> bytes | None:
    """The index of a table's entries; None where there can be none (a hole, or a file, has no bytes in the blob)."""
    at, lines = 0, []
    for entry in entries:
        if entry.chunk_type == "zeros":
            return None
        if entry.type == "chunk":  # it lies within its file's frames
            continue
        gap = length = 0
        full = entry.type == "reg" and entry.size > 0
        if full:
            gap, length = entry.offset - at, entry.end_offset - entry.offset
            if length <= 0:
                return None
            at = entry.end_offset
        line: _Line = (
            *(entry.type, entry.name, entry.link_name, entry.mode, entry.uid, entry.gid),
            *(entry.size, entry.digest if full else "", gap, length, dict(sorted(entry.xattrs.items()))),
        )
        lines.append(msgspec.json.encode(line))
    return b"".join(line + b"\n" for line in lines)


def decode(data: bytes, where: str) -> Iterator[TocEntry]:
    """The entries that an index stands for, one by one.

    Raises:
        InputError: it is malformed; said where that is met.
    """
    read = msgspec.json.Decoder(_Line).decode
    at = 0
    try:
        for line in filter(None, data.split(b"\n")):
            kind, name, target, mode, uid, gid, size, digest, gap, length, xattrs = read(line)
            start = at + gap if length else 0
            at = start + length if length else at
            yield TocEntry(
                type=kind,
                name=name,
                link_name=target,
                mode=mode,
                size=size,
                uid=uid,
                gid=gid,
                xattrs=xattrs,
                digest=digest,
                offset=start,
                end_offset=start + length,
            )
    except NOT_DECODED as error:
        raise InputError(f"{where}: its compact index is malformed", cause=str(error)) from error
