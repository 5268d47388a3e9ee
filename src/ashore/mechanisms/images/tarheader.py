# SPDX-License-Identifier: Apache-2.0
"""One tar header, and the pax records and GNU names that may change what it says."""

import os
import re
import zlib
from typing import Final, NamedTuple

from ashore.nouns.layer import Member, TarEntry

ARCHIVE_BLOCK: Final = 512
_OCTAL_SIZE = 0o77777777777
ID_MAX = 2**32 - 2  # the last one means "do not change" to chown(2)
_NOT_FOUND = -1

_KINDS: Final = {
    b"0": Member.FILE,
    b"\0": Member.FILE,
    b"7": Member.FILE,
    b"1": Member.HARDLINK,
    b"2": Member.SYMLINK,
    b"5": Member.DIR,
}
_OTHERS: Final = {b"3": "a character device", b"4": "a block device", b"6": "a FIFO", b"S": "a sparse file"}
_USUAL: Final = re.compile(rb"([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0[0-7]{11}\0([0-7]{6})\0 ")
"""Mode, uid, gid, size and checksum as today's programs write them; other forms are legal, and read one by one."""
_LINKS: Final = (Member.HARDLINK, Member.SYMLINK)
_WITHOUT_DATA: Final = b"123456"
_XATTR, _XATTR_BSD, _SPARSE = b"SCHILY.xattr.", b"LIBARCHIVE.xattr.", b"GNU.sparse."


class TarError(ValueError):
    """The archive breaks the format. `TarReader` says where."""

    entry = b""
    """The name of the entry that is at fault, where the fault is one entry's own."""


class Header(NamedTuple):
    """A header's fields, as they stand in its 512 bytes."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    type: bytes
    target: bytes


class Extended:
    """What came before a header, for it alone."""

    def __init__(self) -> None:
        self.pax: dict[bytes, bytes] = {}
        self.bytes = 0

    def set_pax(self, records: dict[bytes, bytes]) -> None:
        if b"\0pax" in self.pax:
            raise TarError("two extended headers for one entry")
        for key, value in records.items():
            if value and self.pax.get(key, value) != value:
                raise TarError("a GNU long name and a pax record contradict each other")
        # An empty value takes a record back; an empty extended attribute is one.
        self.pax |= {key: value for key, value in records.items() if value or key.startswith(_XATTR)}
        self.pax[b"\0pax"] = b""

    def set_gnu(self, kind: bytes, data: bytes) -> None:
        key = b"path" if kind == b"L" else b"linkpath"
        value = data.rstrip(b"\0")
        if self.pax.get(key, value) != value:
            raise TarError("a long name is given twice")
        self.pax[key] = value

    def check_global(self, records: dict[bytes, bytes]) -> None:
        for key in records:
            if key in {b"path", b"linkpath", b"size", b"uid", b"gid"} or key.startswith((_XATTR, _XATTR_BSD, _SPARSE)):
                raise TarError(f"a global header sets {key.decode(errors='replace')!r}, which belongs to one entry")


def parse_header(block: bytes) -> Header:
    """Read a header block.

    Raises:
        TarError: checksum or a number is wrong.
    """
    usual = _USUAL.match(block, 100)
    checksum = int(usual[5], 8) if usual else _number(block[148:156], "checksum")
    if checksum != _sum(block) - sum(block[148:156]) + 8 * 32:
        raise TarError("a header's checksum is wrong")
    if usual:
        mode, uid, gid, size = [int(field, 8) for field in usual.groups()[:4]]
    else:
        mode, uid, gid = (_number(block[at : at + 8], name) for at, name in ((100, "mode"), (108, "uid"), (116, "gid")))
        size = _number(block[124:136], "size")
    name = block[:100].split(b"\0", 1)[0]
    if block[345] and block[257:265] == b"ustar\x0000":
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    target = block[157:257].split(b"\0", 1)[0] if block[157] else b""
    return Header(name, mode, uid, gid, size, block[156:157], target)


def _sum(block: bytes) -> int:
    """Of its 512 bytes, in a fifth of `sum`'s time.

    The lower half of an Adler-32 is one more than the sum, modulo 65,521 (RFC 1950, section 8), which 256 bytes
    do not reach.
    """
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _number(field: bytes, name: str) -> int:
    first = field[0]
    if first & 0x80:  # GNU: base 256, the second bit is the sign
        if first & 0x40:
            raise TarError(f"a negative {name}")
        return int.from_bytes(bytes([first & 0x3F]) + field[1:], "big")
    text = field.strip(b" \0")
    if not text:
        return 0
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise TarError(f"{name} is not a number: {field!r}")
    return int(text, 8)


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Read the records of a pax header.

    Raises:
        TarError: a length is wrong, or a key comes twice.
    """
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space != _NOT_FOUND else b""
        end = at + int(digits) if digits.isdigit() else _NOT_FOUND
        if not space < end <= len(data) or data[end - 1] != 0x0A:
            raise TarError("a pax record's length is wrong")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise TarError("a pax record without a key")
        if key in records:
            raise TarError(f"the pax record {key.decode(errors='replace')!r} comes twice")
        records[key] = value
        at = end
    return records


def to_entry(header: Header, extended: Extended) -> tuple[TarEntry, int]:
    """The member that header and extensions describe, and how many bytes of it are stored.

    Raises:
        TarError: they contradict each other, or name what cannot be.
    """
    kind, what = _kind(header)
    name, target, uid, gid, size = header.name, header.target, header.uid, header.gid, header.size
    xattrs: dict[str, bytes] = {}
    if pax := extended.pax:
        name, target = pax.get(b"path", name), pax.get(b"linkpath", target)
        uid, gid = _decimal(pax, b"uid", uid), _decimal(pax, b"gid", gid)
        size = _pax_size(pax, size)
        xattrs = _xattrs(pax)
        if any(key.startswith(_SPARSE) for key in pax):
            kind, what = Member.OTHER, "a sparse file"
    if uid > ID_MAX or gid > ID_MAX:
        raise TarError(f"an owner out of range: {uid}:{gid}")
    if size and header.type in _WITHOUT_DATA:
        raise TarError(f"{what or f'a {kind}'} with a size")
    if kind is Member.FILE and header.type == b"\0" and name.endswith(b"/"):
        kind = Member.DIR  # from before there was a type for folders
    path = normal(os.fsdecode(name))
    if not path and kind is not Member.DIR:
        raise TarError(f"{what or f'a {kind}'} in place of the root itself")
    text = os.fsdecode(target)
    if kind is Member.HARDLINK:
        text = normal(text)
    if kind in _LINKS and (not text or "\0" in text):
        raise TarError(f"a {kind} without a target")
    return TarEntry(
        name=path,
        kind=kind,
        mode=header.mode & 0o7777,
        uid=uid,
        gid=gid,
        size=size,
        target=text,
        xattrs=xattrs,
        what=what,
    ), size


def _kind(header: Header) -> tuple[Member, str]:
    kind = _KINDS.get(header.type)
    if kind is not None:
        return kind, ""
    return Member.OTHER, _OTHERS.get(header.type, f"an entry of the unknown type {header.type!r}")


def normal(name: str) -> str:
    """An archive's name as a relative path: ``./a//b/`` and ``/a/b`` are ``a/b``; the root is empty.

    Raises:
        TarError: it has a ``..`` part or a NUL.
    """
    if "\0" in name:
        raise TarError("a name with a NUL")
    between = f"/{name}/"
    if "/./" not in between and "/../" not in between and "//" not in name:
        return name.strip("/")
    parts = [part for part in name.split("/") if part and part != "."]
    if ".." in parts:
        raise TarError(f"a name that leads out of the archive: {name!r}")
    return "/".join(parts)


def _decimal(pax: dict[bytes, bytes], key: bytes, otherwise: int) -> int:
    text = pax.get(key)
    if text is None:
        return otherwise
    if not text.isdigit() or len(text) > 19:
        raise TarError(f"{key.decode()} is not a number: {text[:40]!r}")
    return int(text)


def _pax_size(pax: dict[bytes, bytes], size: int) -> int:
    """The pax size, which counts; another value is only right where the header has no room for it."""
    given = _decimal(pax, b"size", size)
    if given != size and given <= _OCTAL_SIZE:
        raise TarError(f"two sizes that contradict each other: {given} and {size}")
    return given


def _xattrs(pax: dict[bytes, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, value in pax.items():
        if key.startswith(_XATTR):
            found[os.fsdecode(key[len(_XATTR) :])] = value
        elif key.startswith(_XATTR_BSD):
            found.setdefault(*_bsd_xattr(key, value))
    return found


def _bsd_xattr(key: bytes, value: bytes) -> tuple[str, bytes]:
    """libarchive's own form: the name with percent escapes, the value in base 64 without padding."""
    import binascii
    from urllib.parse import unquote_to_bytes

    try:
        data = binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
    except binascii.Error as error:
        raise TarError("an extended attribute that is not base 64") from error
    return os.fsdecode(unquote_to_bytes(key[len(_XATTR_BSD) :])), data
