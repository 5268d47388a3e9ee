# SPDX-License-Identifier: Apache-2.0
"""A host whose folders lie on several mounts: memory, a bind mount, memory again, and a disk."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Set
from pathlib import Path

from tests.hostile.crash import mounts

MOUNTS = ("", "opt", "etc/app", "var/lib/app")
"""Below the root; `etc/app` is a bind mount of `home/shelf`, of the root's own file system."""


class SeveralMounts:
    """`folder/host` is the root. What lies on it can be kept and put back, as often as it is broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "host"
        self._kept = folder / "kept"

    def keep(self) -> None:
        """Remember what lies on the root now."""
        shutil.rmtree(self._kept, ignore_errors=True)
        self._kept.mkdir()
        subprocess.run(["cp", "-a", f"{self.root}/.", str(self._kept)], check=True)

    def clear(self) -> None:
        """Make the root bare; the mounts stay."""
        keep = {_identity(self.root / mounted) for mounted in MOUNTS}
        for mounted in MOUNTS:
            _empty(self.root / mounted, keep)

    def put_back(self) -> None:
        """Make the root what it was."""
        self.clear()
        # The bind mount's folder has two names; a copy through one is seen through both.
        shutil.rmtree(self._kept / "home/shelf", ignore_errors=True)
        subprocess.run(["cp", "-a", f"{self._kept}/.", str(self.root)], check=True)


@contextlib.contextmanager
def several_mounts() -> Iterator[SeveralMounts]:
    """For a process that is in a mount namespace of its own."""
    with mounts.scratch() as folder:
        root = folder / "host"
        mounts.tmpfs(root)
        mounts.format_image(folder / "opt.img", mounts.EXT4)
        mounts.mount_image(folder / "opt.img", root / "opt", mounts.EXT4)
        shutil.rmtree(root / "opt/lost+found")
        (root / "home/shelf").mkdir(parents=True)
        mounts.bind(root / "home/shelf", root / "etc/app")
        mounts.tmpfs(root / "var/lib/app")
        yield SeveralMounts(folder)


def _empty(folder: Path, keep: Set[tuple[int, int]]) -> None:
    for entry in os.scandir(folder):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
        elif _identity(entry.path) not in keep:
            _empty(Path(entry.path), keep)
            with contextlib.suppress(OSError):  # on the way to a mount
                os.rmdir(entry.path)


def _identity(path: str | Path) -> tuple[int, int]:
    """Of a bind mount, also that of the folder behind it."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
