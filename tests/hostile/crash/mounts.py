# SPDX-License-Identifier: Apache-2.0
"""File systems to break: made, mounted and forgotten in a mount namespace of this process's own."""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LOOP_CLR_FD = 0x4C82, 0x4C0A, 0x4C01
_AUTOCLEAR = 4

EXT4, XFS = "ext4", "xfs"
MIB = 1 << 20
SIZES = {EXT4: 48 * MIB, XFS: 300 * MIB}
"""The least that each takes with a journal that is not cramped."""


def missing(*programs: str) -> str:
    """Why there can be no file systems of our own here; empty if there can."""
    if os.geteuid() != 0:
        return "this is not root"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    lacking = [program for program in programs if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def go_private() -> None:
    """From here on this process mounts for itself alone; with its end everything is unmounted."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    mount("none", "/", "", _MS_REC | _MS_PRIVATE)


def mount(source: str, target: str | Path, kind: str, flags: int = 0, options: str = "") -> None:
    """As mount(2)."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*arguments), str(target))


def bind(source: Path, target: Path, *, whole: bool = False) -> None:
    """`whole`: with all that is mounted below."""
    target.mkdir(parents=True, exist_ok=True)
    mount(str(source), target, "", _MS_BIND | (_MS_REC if whole else 0))


def tmpfs(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", target, "tmpfs", 0, "mode=755")


def unmount(target: Path) -> None:
    """Unmount; who else looks at the moment (a scanner, a shell) is waited for."""
    for _ in range(200):
        if _libc.umount2(os.fsencode(target), 0) == 0:
            return
        if ctypes.get_errno() != errno.EBUSY:
            break
        time.sleep(0.01)
    _check(-1, str(target))


def format_image(image: Path, kind: str, size: int = 0) -> None:
    """An empty file system in a sparse file. No thread of the kernel goes on initialising it later."""
    with image.open("wb") as file:
        file.truncate(size or SIZES[kind])
    quick = ("-E", "lazy_itable_init=0,lazy_journal_init=0") if kind == EXT4 else ()
    subprocess.run([f"mkfs.{kind}", "-q", *quick, str(image)], check=True)
    subprocess.run(["cp", "--sparse=always", str(image), f"{image}.sparse"], check=True)
    os.replace(f"{image}.sparse", image)


def mount_image(image: str | Path, target: Path, kind: str, options: str = "") -> None:
    """Mount a file; its loop device goes with the mount."""
    target.mkdir(parents=True, exist_ok=True)
    with _loop(image) as device:
        mount(device, target, kind, 0, options)


class Mounted(contextlib.AbstractContextManager[None]):
    """An image that is mounted for a while."""

    def __init__(self, image: str | Path, target: Path, kind: str) -> None:
        self._image, self._target, self._kind = image, target, kind

    def __enter__(self) -> None:
        mount_image(self._image, self._target, self._kind)

    def __exit__(self, *_: object) -> None:
        unmount(self._target)


@contextlib.contextmanager
def _loop(image: str | Path) -> Iterator[str]:
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(100):
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                # struct loop_config: the file, no block size, and of loop_info64 only lo_flags.
                fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("II52xI240x", backing, 0, _AUTOCLEAR))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue  # Somebody else was quicker.
            try:
                yield name
                return
            finally:
                os.close(device)
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(control)
        os.close(backing)


def copy_sparse(source: Path, target: Path) -> None:
    """A copy that takes as long as there is data."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(reader.fileno(), at, os.SEEK_HOLE)
            while at < end:
                piece = os.pread(reader.fileno(), min(MIB, end - at), at)
                at += os.pwrite(writer.fileno(), piece, at)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for images and trees, in memory where there is some."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None, prefix="ashore-crash-") as folder:
        try:
            yield Path(folder)
        finally:
            for mounted in _mounts_below(folder):
                _libc.umount2(os.fsencode(mounted), 2)


def _mounts_below(folder: str) -> list[str]:
    with open("/proc/self/mounts", encoding="utf-8") as file:
        found = [line.split()[1] for line in file]
    return sorted((m for m in found if m.startswith(folder + "/")), reverse=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
