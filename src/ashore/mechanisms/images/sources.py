# SPDX-License-Identifier: Apache-2.0
"""A folder of the author's machine as entries by path: what lies there, symlinks never followed."""

import os
import stat
from collections.abc import Callable
from typing import Final

import msgspec

from ashore.errors import InputError, words_of
from ashore.mechanisms.images.blobfiles import open_whole
from ashore.mechanisms.images.streams import Readable
from ashore.nouns.files import Entry, Kind, printable

_KINDS: Final = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIR, stat.S_IFLNK: Kind.SYMLINK}
_KEPT_XATTRS = ("user.", "security.capability")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, and where its content lies. Entries of one `group` are hard links of each other."""

    entry: Entry
    file: str = ""
    group: str = ""

    def open(self) -> Readable:
        """The content, which must still have the size that was seen."""
        source, size = open_whole(self.file, printable(self.file))
        return _Unchanged(source, self.entry.size, self.file) if size == self.entry.size else _changed(self.file)

    def content(self) -> bytes:
        """All of a small file."""
        source = self.open()
        buffer = bytearray(self.entry.size)
        try:
            return bytes(buffer[: source.readinto(buffer)])
        finally:
            source.close()


def scan(folder: str, lost: Callable[[str, OSError], None] | None = None) -> dict[str, Source]:
    """Everything below `folder`, by relative path. With `lost`, a folder that cannot be read is passed over.

    Raises:
        InputError: a folder cannot be read.
    """
    found: dict[str, Source] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            names = os.listdir(os.path.join(folder, below))
            for name in names:
                path = f"{below}/{name}" if below else name
                source = found[path] = _source(os.path.join(folder, path))
                if source.entry.kind is Kind.DIR:
                    waiting.append(path)
        except OSError as error:
            if lost is not None:
                lost(below, error)
                continue
            raise InputError(f"cannot read {printable(os.path.join(folder, below))}", cause=words_of(error)) from error
    return found


def scan_at(path: str) -> dict[str, Source]:
    """The file at `path` as ``""``, or a folder and everything below it.

    Raises:
        InputError: it cannot be read.
    """
    try:
        top = _source(path)
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=words_of(error)) from error
    return {"": top} | (scan(path) if top.entry.kind is Kind.DIR else {})


def _source(path: str) -> Source:
    status = os.lstat(path)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER)
    entry = Entry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        size=status.st_size if kind is Kind.FILE else 0,
        target=os.readlink(path) if kind is Kind.SYMLINK else "",
        xattrs=_xattrs(path),
    )
    linked = kind is Kind.FILE and status.st_nlink > 1
    group = f"{status.st_dev}:{status.st_ino}" if linked else ""
    return Source(entry=entry, file=path if kind is Kind.FILE else "", group=group)


def _xattrs(path: str) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}  # a file system without any
    kept = sorted(name for name in names if name.startswith(_KEPT_XATTRS))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in kept}


class _Unchanged:
    """A `Readable` of exactly so many bytes."""

    def __init__(self, source: Readable, size: int, path: str) -> None:
        self._source, self._left, self._path = source, size, path

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._source.readinto(buffer) or 0
        self._left -= count
        if self._left < 0 or (not count and self._left):
            _changed(self._path)
        return count

    def close(self) -> None:
        self._source.close()


def _changed(path: str) -> Readable:
    raise InputError(f"{printable(path)} changed while it was read", remedy="build again when nothing writes there")
