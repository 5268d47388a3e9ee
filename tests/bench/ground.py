# SPDX-License-Identifier: Apache-2.0
"""Where files are installed to: as root a freshly formatted ext4 on a loop device, else a temporary folder.

A file system that was written and cleared many times makes the next file slow to create, by a factor that
changes from run to run; so each run begins on a new one.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SECTOR = 512
_CLONE_NEWNS = 0x00020000
_OPTIONS = "lazy_itable_init=0,lazy_journal_init=0"
"""Nothing of the formatting is left for the time that is measured."""


class Ground:
    """One place that can be made new. `fresh` is that of a run; `path` does not change."""

    def __init__(self, folder: Path, *, size: int) -> None:
        self.path = folder / "ground"
        self._image = folder / "ground.img"
        self._size = size
        self._formatted = can_format()

    def __str__(self) -> str:
        return "ext4, freshly formatted, on a loop device" if self._formatted else "a temporary folder"

    def fresh(self) -> None:
        """Empty, but for the folders that every host has."""
        self.clear()
        self.path.mkdir(parents=True)
        if self._formatted:
            with self._image.open("wb") as image:
                image.truncate(self._size)
            _do("mkfs.ext4", "-q", "-F", "-E", _OPTIONS, str(self._image))
            _do("mount", "-o", "loop", str(self._image), str(self.path))
        for folder in ("root/etc", "root/var/lib", "scratch"):
            (self.path / folder).mkdir(parents=True)
        os.sync()

    def clear(self) -> None:
        """Nothing left of it."""
        if self._formatted and os.path.ismount(self.path):
            _do("umount", "--recursive", str(self.path))
        shutil.rmtree(self.path, ignore_errors=True)
        self._image.unlink(missing_ok=True)

    def disk(self) -> int:
        """Bytes that its device has taken since it was made, with all that was still on its way; 0 without one."""
        if not self._formatted:
            return 0
        _do("sync", "-f", str(self.path))
        device = os.stat(self.path).st_dev
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return int(fields[6]) * _SECTOR

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"


def can_format() -> bool:
    """Whether this process may make and mount file systems."""
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None and os.path.exists("/dev/loop-control")


def leave_mounts_alone() -> None:
    """Mounts made from here on are seen by this process and its children only."""
    if not can_format():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _do("mount", "--make-rprivate", "/")


@contextlib.contextmanager
def ground(folder: Path, *, size: int) -> Iterator[Ground]:
    """A place that is gone afterwards."""
    place = Ground(folder, size=size)
    try:
        yield place
    finally:
        place.clear()


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
