# SPDX-License-Identifier: Apache-2.0
"""Headers of tar archives, the same bytes for the same entry anywhere: no time, no names of owners.

Source: POSIX.1-2017 pax: ustar where a name fits, a pax header where it does not.
"""

import os
from typing import Final

from ashore.nouns.layer import Member, TarEntry

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What an archive ends with."""
_NAME, _SIZE_MAX, _ID_MAX = 100, 0o77777777777, 0o7777777
_TYPES: Final = {Member.FILE: b"0", Member.HARDLINK: b"1", Member.SYMLINK: b"2", Member.DIR: b"5"}


def header(entry: TarEntry) -> bytes:
    """All that stands before the content of `entry`, its extended header included."""
    name = os.fsencode(entry.name + ("/" if entry.kind is Member.DIR else ""))
    target = os.fsencode(entry.target)
    pax: dict[bytes, bytes] = {}
    if len(name) > _NAME or not name.isascii():
        pax[b"path"] = name
    if len(target) > _NAME or not target.isascii():
        pax[b"linkpath"] = target
    numbers = {b"uid": (entry.uid, _ID_MAX), b"gid": (entry.gid, _ID_MAX), b"size": (entry.size, _SIZE_MAX)}
    pax |= {key: b"%d" % value for key, (value, most) in numbers.items() if value > most}
    pax |= {b"SCHILY.xattr." + os.fsencode(key): value for key, value in entry.xattrs.items()}
    own = _ustar(
        name[:_NAME],
        _TYPES[entry.kind],
        entry.mode,
        0 if b"uid" in pax else entry.uid,
        0 if b"gid" in pax else entry.gid,
        0 if b"size" in pax else entry.size,
        target[:_NAME],
    )
    return _pax(pax) + own if pax else own


def padding(size: int) -> bytes:
    """What stands after a content of `size` bytes."""
    return bytes(-size % BLOCK)


def _pax(records: dict[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, records[key]) for key in sorted(records))
    return _ustar(b"pax", b"x", 0o644, 0, 0, len(data), b"") + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """A record's length counts its own digits."""
    length = rest = len(key) + len(value) + 3
    while length != rest + len(str(length)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _ustar(name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, target: bytes) -> bytes:
    fields = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\x0000" % (
        name.ljust(_NAME, b"\0"),
        mode,
        uid,
        gid,
        size,
        0,
        kind,
        target.ljust(_NAME, b"\0"),
    )
    block = fields.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
