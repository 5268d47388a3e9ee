# SPDX-License-Identifier: Apache-2.0
"""The least that an install can take: read the blob, decompress, hash, write the same files, sync.

    python -m tests.bench.floor list BLOB COMPRESSION > INDEX     what the blob holds, once, beforehand
    python -m tests.bench.floor write BLOB COMPRESSION INDEX TARGET

It reads no headers, checks nothing, swaps nothing, records nothing and cannot be undone.
"""

import ctypes
import hashlib
import importlib
import os
import sys
import tarfile
from typing import Any

_BUFFER = 1 << 20


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - read to its end by whoever has it
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self.hash.update(memoryview(buffer)[:count])
        return count

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    closed = False


def unpacked(source: Any, compression: str) -> Any:
    """The blob as the archive it was."""
    if compression == "gzip":
        try:
            igzip = importlib.import_module("isal.igzip")
            return igzip.GzipFile(fileobj=source)
        except ImportError:
            import gzip

            return gzip.GzipFile(fileobj=source)
    from ashore.mechanisms.images.zstandard import zstd

    return zstd.ZstdFile(source, "rb")


def index(blob: str, compression: str) -> None:
    """One line a file: where its bytes begin in the archive, how many, its path."""
    with tarfile.open(fileobj=unpacked(_Hashed(blob), compression), mode="r|") as archive:
        for member in archive:
            if member.isreg():
                print(member.offset_data, member.size, member.name, sep="\t")


def write(blob: str, compression: str, listed: str, target: str) -> None:
    """Write the files of an index."""
    with open(listed) as file:
        members = [line.rstrip("\n").split("\t") for line in file]
    folders: dict[str, int] = {}
    stream, at, buffer = unpacked(_Hashed(blob), compression), 0, memoryview(bytearray(_BUFFER))
    for offset, length, path in members:
        begin, size = int(offset), int(length)
        while at < begin:
            at += stream.readinto(buffer[: min(_BUFFER, begin - at)])
        above, _, name = path.rpartition("/")
        if above not in folders:
            os.makedirs(os.path.join(target, above), exist_ok=True)
            folders[above] = os.open(os.path.join(target, above), os.O_RDONLY)
            if len(folders) > 400:
                os.close(folders.pop(next(iter(folders))))
        hashed = hashlib.sha256()
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folders[above])
        while size:
            count = stream.readinto(buffer[: min(_BUFFER, size)])
            hashed.update(buffer[:count])
            os.write(descriptor, buffer[:count])
            at, size = at + count, size - count
        os.close(descriptor)
    while stream.readinto(buffer):
        pass
    top = os.open(target, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(top)


if __name__ == "__main__":
    if sys.argv[1] == "list":
        index(*sys.argv[2:])
    else:
        write(*sys.argv[2:])
