# SPDX-License-Identifier: Apache-2.0
"""Named files of an image on disk: in a folder, or in a tar archive, read where they lie."""

import os
import stat
from typing import Protocol

from ashore.errors import AshoreError, InputError, words_of
from ashore.mechanisms.images.streams import Readable
from ashore.mechanisms.images.tar import TarReader
from ashore.nouns.files import parent, printable
from ashore.nouns.layer import Member
from ashore.nouns.limits import Limits

_MOST_JUMPS = 8
_PACKED = {b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "unzstd", b"\xfd7zXZ\x00": "unxz", b"BZh": "bunzip2"}
"""How a compressed file begins, and what unpacks it."""


class BlobFiles(Protocol):
    """A read-only set of files by name."""

    place: str
    """For messages."""

    def open(self, name: str) -> tuple[Readable, int]:
        """The content and size of `name`.

        Raises:
            InputError: there is no such file.
        """
        ...


class FilePart:
    """A `Readable` over a part of an open file, which it closes at the end."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._at, self._left = descriptor, offset, size

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        view = memoryview(buffer)[: self._left]
        count = os.preadv(self._descriptor, [view], self._at) if view else 0
        self._at += count
        self._left -= count
        return count

    def peek(self, buffer: bytearray) -> None:
        """Read the next bytes, and stay before them."""
        os.preadv(self._descriptor, [buffer], self._at)

    def part(self, offset: int, size: int) -> "FilePart":
        """A part of the same file instead; this one is given up."""
        descriptor, self._descriptor = self._descriptor, -1
        return FilePart(descriptor, offset, size)

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them."""
        self._at += count
        self._left = max(0, self._left - count)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._left = -1, 0


def open_whole(path: str, place: str) -> tuple[FilePart, int]:
    """A file from its beginning to its end.

    Raises:
        InputError: it is not there, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = (
            "check the path, which ends at the first colon:"
            " oci:DIR names a folder in the OCI layout, oci-archive: and docker-archive: a file"
        )
        raise InputError(f"{place} is missing", remedy=remedy) from error
    except OSError as error:
        raise AshoreError(f"cannot read {place}", cause=words_of(error)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError(f"{place} is not a file")
    return FilePart(descriptor, 0, status.st_size), status.st_size


class FolderFiles:
    """Files below a folder."""

    def __init__(self, path: str) -> None:
        self.place = path

    def open(self, name: str) -> tuple[Readable, int]:
        path = os.path.join(self.place, *name.split("/"))
        return open_whole(path, printable(path))


class ArchiveFiles:
    """Files of a tar archive, found by one pass over its headers."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.place = path
        self._parts: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        source, _ = open_whole(path, path)
        try:
            _refuse_compressed(source, path)
            self._scan(TarReader(source, path, limits))
        finally:
            source.close()

    def has(self, name: str) -> bool:
        """Whether the archive has the file `name`."""
        return self._followed(name) in self._parts

    def open(self, name: str) -> tuple[Readable, int]:
        found = self._parts.get(self._followed(name))
        if found is None:
            raise InputError(f"{self.place} has no {printable(name)}", remedy=self._other_kind(name))
        whole, _ = open_whole(self.place, self.place)
        return whole.part(*found), found[1]

    def _other_kind(self, name: str) -> str:
        """What to do where it is the other of the two kinds of archive that lacks `name`, or a damaged one."""
        for wanted, has, transport in (
            ("oci-layout", "manifest.json", "docker-"),
            ("manifest.json", "oci-layout", "oci-"),
        ):
            if name == wanted and self.has(has):
                return f"it is an archive of the other kind: {transport}archive:{printable(self.place)}"
        return "it is no archive of an image, or was cut: get it again"

    def _scan(self, members: TarReader) -> None:
        for entry in members:
            if entry.kind is Member.FILE:
                self._parts[entry.name] = (members.offset, entry.size)
            elif entry.kind is Member.HARDLINK:
                self._links[entry.name] = entry.target
            elif entry.kind is Member.SYMLINK:  # docker save: a layer that two images share
                self._links[entry.name] = os.path.normpath(os.path.join(parent(entry.name), entry.target))

    def _followed(self, name: str) -> str:
        for _ in range(_MOST_JUMPS):
            if name in self._parts:
                break
            name = self._links.get(name, name)
        return name


def _refuse_compressed(source: FilePart, path: str) -> None:
    start = bytearray(max(map(len, _PACKED)))
    source.peek(start)
    for magic, program in _PACKED.items():
        if start.startswith(magic):
            raise InputError(f"{printable(path)} is compressed", remedy=f"unpack it first: {program} {printable(path)}")
