# SPDX-License-Identifier: Apache-2.0
"""Make many changes durable at once: file by file for a few, by file system for many.

Syncing each of 5,000 files takes nine times as long as one syncfs (`make bench`), but syncfs also waits for
what others wrote: so it is for many files only.
"""

import os
import stat
import threading
from collections.abc import Iterable, Sequence

from ashore.mechanisms import syscalls
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import parent
from ashore.nouns.plan import Action, Step

FEW = 64


class Writeback:
    """Has the file systems of open folders begin to write out, in a thread, while other work goes on.

    It is no sync: that is still to be asked for afterwards, and then has little left to do.
    """

    def __init__(self, folders: Sequence[int]) -> None:
        self._folders = tuple(folders)
        self._fault: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="ashore-writeback", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for folder in self._folders:
                syscalls.syncfs(folder)
        except OSError as error:
            self._fault = error  # the kernel tells a descriptor of a fault once: the next syncfs would not know

    def end(self) -> None:
        """Wait for it.

        Raises:
            OSError: something could not be written.
        """
        self._thread.join()
        if self._fault is not None:
            raise self._fault


def sync_staged(areas: Sequence[int], names: Sequence[tuple[int, str]]) -> None:
    """Contents and names of staged files: (index of area, name)."""
    for index, area in enumerate(areas):
        files = [name for where, name in names if where == index]
        if len(files) > FEW:
            syscalls.syncfs(area)
            continue
        for name in files:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=area)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.fsync(area)


def sync_swapped(host: Beneath, areas: Iterable[int], steps: Iterable[Step]) -> None:
    """What was swapped: names on both sides, and the folders that were made, changed or removed."""
    folders = {folder for step in steps for folder in _touched(step)}
    one_by_one = len(folders) <= FEW
    done: set[int] = set()
    for folder in sorted(folders):
        status = host.lstat(folder)
        # A folder that was removed, or became a file, is its parent's affair; that is in the set as well.
        if status is None or not stat.S_ISDIR(status.st_mode):
            continue
        if one_by_one:
            os.fsync(host.folder(folder))
        elif status.st_dev not in done:  # a mount where only folders changed has no staging folder
            done.add(status.st_dev)
            syscalls.syncfs(host.folder(folder))
    for area in areas:
        os.fsync(area)


def _touched(step: Step) -> tuple[str, ...]:
    # Syncing the folder above makes a name durable, and not the mode or owner of what it names.
    is_folder = step.action in (Action.MKDIR, Action.CHANGE_DIR, Action.RMDIR)
    return (parent(step.path), step.path) if is_folder else (parent(step.path),)
