# SPDX-License-Identifier: Apache-2.0
"""Disks that remember: files on a small FUSE file system of our own that logs each write and each flush in order.

Loop devices lie on them, file systems on those. What a disk without power may have kept is then a choice:
everything before the last flush, and any part of what came after. The protocol is that of linux/fuse.h,
spoken over /dev/fuse, so that nothing has to be installed for it.
"""

import contextlib
import errno
import os
import pickle
import signal
import stat
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from tests.hostile.crash.mounts import mount, unmount


class _Op(IntEnum):
    """What the kernel asks for (enum fuse_opcode)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    RELEASEDIR = 29
    DESTROY = 38
    BATCH_FORGET = 42


_HEADER, _REPLY = struct.Struct("IIQQIIIHH"), struct.Struct("IiQ")
_DIRECT_IO, _BIG_WRITES = 1, 1 << 5
_LARGEST = 1 << 20
MARKS = "marks"


class Write(NamedTuple):
    """Bytes that reached a disk's cache."""

    disk: str
    offset: int
    data: bytes


class Flush(NamedTuple):
    """A disk was told to keep everything so far."""

    disk: str


class Mark(NamedTuple):
    """What the one who wrote to the disks had to say at this moment."""

    text: str


Record = Write | Flush | Mark


@contextlib.contextmanager
def logging(disks: Mapping[str, Path], at: Path, log: Path) -> Iterator[None]:
    """The images `disks` as files of those names at the folder `at`; all that is done to them goes to `log`.

    A file `marks` beside them takes what `mark` is told.
    """
    at.mkdir(parents=True, exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mount("disks", at, "fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            with log.open("wb", buffering=1 << 20) as file:
                _Server(device, disks, pickle.Pickler(file)).serve()
            code = 0
        except BaseException as error:
            print(f"the disks failed: {error!r}", file=sys.stderr)
        finally:
            os._exit(code)
    os.close(device)
    try:
        yield
    finally:
        unmount(at)
        _, status = os.waitpid(child, 0)
    if status:
        raise OSError(errno.EIO, "the disks failed")


def mark(at: Path, text: str) -> None:
    """Log `text` among what happens to the disks at the folder `at`."""
    descriptor = os.open(at / MARKS, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(log: Path) -> list[Record]:
    """Everything that was logged."""
    records: list[Record] = []
    with log.open("rb") as file:
        unpickler = pickle.Unpickler(file)
        with contextlib.suppress(EOFError):
            while True:
                kind, *values = unpickler.load()
                records.append({"w": Write, "f": Flush, "m": Mark}[kind](*values))
    return records


def cut_points(records: Sequence[Record]) -> list[int]:
    """The places in the log just after a flush, and the end."""
    return sorted({*(i + 1 for i, record in enumerate(records) if isinstance(record, Flush)), len(records)})


class _Server:
    """Answers the kernel until it says goodbye. One request at a time: the log has one order."""

    def __init__(self, device: int, disks: Mapping[str, Path], log: pickle.Pickler) -> None:
        self._device, self._log = device, log
        self._names = [*disks, MARKS]
        self._files = {n: os.open(path, os.O_RDWR) for n, path in enumerate(disks.values(), start=2)}
        self._marks = 2 + len(disks)

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, _LARGEST + 4096)
            except OSError as error:
                # ECONNABORTED (fs/fuse/dev.c, fuse_dev_do_read): a request that the unmount gave up while it was handed
                # over. Whoever had written it would have been told; ENODEV comes next.
                if error.errno in (errno.EINTR, errno.ENOENT, errno.ECONNABORTED):
                    continue
                if error.errno == errno.ENODEV:
                    return  # unmounted
                raise
            _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
            if opcode in (_Op.FORGET, _Op.BATCH_FORGET):
                continue
            number, answer = self._answer(opcode, node, request[_HEADER.size :])
            # A request that was given up meanwhile takes no answer.
            with contextlib.suppress(FileNotFoundError):
                os.write(self._device, _REPLY.pack(_REPLY.size + len(answer), -number, unique) + answer)
            if opcode == _Op.DESTROY:
                return

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        try:
            match opcode:
                case _Op.RELEASE | _Op.RELEASEDIR | _Op.FLUSH | _Op.DESTROY:
                    return 0, b""
                case _Op.INIT:
                    return 0, struct.pack("IIIIHHIIHHI28x", 7, 31, 1 << 17, _BIG_WRITES, 16, 12, 1 << 17, 1, 0, 0, 0)
                case _Op.LOOKUP:
                    return self._lookup(body.rstrip(b"\0").decode())
                case _Op.GETATTR:
                    return 0, struct.pack("QII", 0, 0, 0) + self._attributes(node)
                case _Op.OPEN | _Op.OPENDIR:
                    return 0, struct.pack("QII", 0, _DIRECT_IO, 0)
                case _Op.READ:
                    _, offset, size = struct.unpack_from("QQI", body)
                    return 0, os.pread(self._files[node], size, offset)
                case _Op.WRITE:
                    return self._write(node, body)
                case _Op.STATFS:
                    return 0, struct.pack("QQQQQIII28x", 1 << 20, 1 << 19, 1 << 19, 10, 0, 4096, 255, 4096)
                case _Op.FSYNC:
                    self._log.clear_memo()
                    self._log.dump(("f", self._names[node - 2]))
                    return 0, b""
                case _:
                    return errno.ENOSYS, b""
        except OSError as error:
            return error.errno or errno.EIO, b""

    def _lookup(self, name: str) -> tuple[int, bytes]:
        if name not in self._names:
            return errno.ENOENT, b""
        node = 2 + self._names.index(name)
        return 0, struct.pack("QQQQII", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, node: int) -> bytes:
        size = os.fstat(self._files[node]).st_size if node in self._files else 0
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o600
        return struct.pack("QQQQQQIIIIIIIIII", node, size, size >> 9, *(0,) * 6, mode, 1, 0, 0, 0, 4096, 0)

    def _write(self, node: int, body: bytes) -> tuple[int, bytes]:
        _, offset, size = struct.unpack_from("QQI", body)
        data = body[40 : 40 + size]
        self._log.clear_memo()
        if node == self._marks:
            self._log.dump(("m", data.decode()))
        else:
            os.pwrite(self._files[node], data, offset)
            self._log.dump(("w", self._names[node - 2], offset, data))
        return 0, struct.pack("II", size, 0)
