# SPDX-License-Identifier: Apache-2.0
"""The table of contents of a zstd:chunked layer: what is in it, and which bytes of the blob hold each file.

The manifest names the table's checksum, so the table, and each file's digest in it, is as sure as the manifest.
Source: containers/storage, pkg/chunked/internal/minimal/compression.go.
"""

import base64
from collections.abc import Iterable

import msgspec

from ashore.errors import NOT_DECODED, InputError, VerificationError
from ashore.mechanisms.images.tarheader import ID_MAX, TarError, normal
from ashore.nouns.digest import Digest, WireDigest, is_digest, of
from ashore.nouns.image import Descriptor
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.limits import Limits

PREFIXES = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")
"""What the annotations of a layer with a table begin with."""
_KINDS = {"reg": Member.FILE, "dir": Member.DIR, "symlink": Member.SYMLINK, "hardlink": Member.HARDLINK}


class Position(msgspec.Struct, frozen=True):
    """Where the table lies in its blob, compressed; how long it is uncompressed; its checksum. Bytes."""

    start: int
    length: int
    raw: int
    digest: Digest


_LINKS = (Member.HARDLINK, Member.SYMLINK)
_PLAIN: dict[str, bytes] = {}
"""One for all members without attributes."""


class Listed(msgspec.Struct, gc=False, frozen=True):
    """A member of the layer; a file's content is in the bytes from `start` to `end` of the blob."""

    entry: TarEntry
    digest: Digest = Digest("")
    start: int = 0
    end: int = 0


_NONE = of(b"")


class TocEntry(msgspec.Struct, gc=False, kw_only=True, omit_defaults=True, rename="camel"):
    """An entry as the table has it: the order of its fields is that of the JSON."""

    type: str
    name: str
    link_name: str = ""
    mode: int = 0
    size: int = 0
    uid: int = 0
    gid: int = 0
    modtime: str | None = ""
    xattrs: dict[str, str] = {}
    digest: str = ""
    offset: int = 0
    end_offset: int = 0
    chunk_type: str = ""


class _Table(msgspec.Struct):
    version: int
    entries: tuple[TocEntry, ...]


def position(layer: Descriptor, limits: Limits) -> Position | None:
    """Where a layer's table lies, None if it has none, or one that is too large to be worth it."""
    for prefix in PREFIXES:
        place = layer.annotations.get(f"{prefix}manifest-position", "").split(":")
        checksum = layer.annotations.get(f"{prefix}manifest-checksum", "")
        if len(place) != 4 or not all(part.isdecimal() and len(part) < 19 for part in place):
            continue
        start, length, raw, kind = map(int, place)
        inside = length > 0 and start + length <= layer.size
        if kind == 1 and inside and length <= limits.table and raw <= limits.table:
            try:
                return Position(start, length, raw, msgspec.convert(checksum, WireDigest))
            except msgspec.ValidationError:
                continue
    return None


def parse(data: bytes, place: Position, where: str, limits: Limits) -> tuple[TocEntry, ...]:
    """The entries of a table as it is stored.

    Raises:
        VerificationError: it is not what the manifest names.
        InputError: it is malformed, or of more entries than an image may have.
    """
    from ashore.mechanisms.images.zstandard import zstd

    if of(data) != place.digest:
        remedy = "the registry, or something on the way to it, changed it"
        raise VerificationError(f"{where}: its table of contents is not what the manifest names", remedy=remedy)
    try:
        text = zstd.ZstdDecompressor().decompress(data, max_length=place.raw)
        # Each has braces of its own, and those of its attributes; what is decoded takes many times its bytes.
        if text.count(b"{") > 2 * limits.entries:
            raise InputError(f"{where}: its table of contents has more than {limits.entries} entries")
        return msgspec.json.decode(text, type=_Table).entries
    except (zstd.ZstdError, *NOT_DECODED) as error:
        raise _malformed(where, error) from error


def members(entries: Iterable[TocEntry], layer: Descriptor, where: str) -> tuple[Listed, ...] | None:
    """The members in order; None where files cannot be fetched by it one by one (holes left out of the blob).

    Raises:
        InputError: one of them makes no sense.
    """
    found = []
    try:
        for entry in entries:
            if entry.chunk_type == "zeros":
                return None
            if entry.type != "chunk":  # chunks lie within their file's range
                found.append(_listed(entry, layer.size))
    except (TarError, ValueError) as error:  # of base64: a text that is none, or not even ASCII
        raise _malformed(where, error) from error
    return tuple(found)


def _malformed(where: str, error: Exception) -> InputError:
    return InputError(f"{where}: its table of contents is malformed", cause=str(error))


def _listed(entry: TocEntry, size: int) -> Listed:
    kind = _KINDS.get(entry.type, Member.OTHER)
    if not (entry.mode >= 0 and 0 <= entry.uid <= ID_MAX and 0 <= entry.gid <= ID_MAX and entry.size >= 0):
        raise TarError(f"a number out of range: {entry.name!r}")
    if kind is Member.FILE and entry.size:
        if not is_digest(entry.digest):  # it names files of the store from here on
            raise TarError(f"a file without a digest: {entry.name!r} has {entry.digest[:100]!r}")
        if not 0 <= entry.offset < entry.end_offset <= size:
            raise TarError(f"a file without a place: {entry.name!r}")
    target = normal(entry.link_name) if kind is Member.HARDLINK else entry.link_name
    if kind in _LINKS and (not target or "\0" in target):
        raise TarError(f"a {kind} without a target: {entry.name!r}")
    member = TarEntry(
        name=normal(entry.name),
        kind=kind,
        mode=entry.mode & 0o7777,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if kind is Member.FILE else 0,
        target=target,
        xattrs={name: base64.b64decode(value, validate=True) for name, value in entry.xattrs.items()}
        if entry.xattrs
        else _PLAIN,
        what="" if kind is not Member.OTHER else f"a {entry.type}",
    )
    if kind is not Member.FILE:
        return Listed(member)
    return Listed(member, Digest(entry.digest), entry.offset, entry.end_offset) if entry.size else Listed(member, _NONE)
