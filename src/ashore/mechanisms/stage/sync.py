# SPDX-License-Identifier: Apache-2.0
"""Make many changes durable at once: file by file for a few, by file system for many.

Syncing each of 5,000 files takes several times as long as one syncfs (`make bench`), but syncfs also waits for
what others wrote: so it is for many files only.
"""

import os
import queue
import stat
import threading
from collections.abc import Iterable, Sequence

from ashore.mechanisms import syscalls
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import READ_FILE
from ashore.nouns.files import parent
from ashore.nouns.plan import Action, Step

FEW = 64
_WAITING = 64
"""Open files: what a slow disk does not take in time, it gets with the sync."""
LARGE = 8 << 20
"""Bytes: such a file is on its way to the disk while the next one comes."""


class Writeback:
    """Has what was written on its way to the disk, in a thread, while other work goes on.

    It is no sync: that is still to be asked for afterwards, and then has little left to do.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[int | tuple[int, ...] | None] = queue.SimpleQueue()
        self._fault: OSError | None = None
        self._thread: threading.Thread | None = None

    def file(self, descriptor: int) -> None:
        """The bytes of an open file, which may be closed at once; unless too many are waiting for a slow disk."""
        if self._asked.qsize() < _WAITING:
            self._ask(os.dup(descriptor))

    def systems(self, folders: Sequence[int]) -> None:
        """All of the file systems of open folders."""
        self._ask(tuple(folders))

    def end(self) -> None:
        """Wait for all that was asked for.

        Raises:
            OSError: something could not be written.
        """
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
            self._thread = None
        if self._fault is not None:
            raise self._fault

    def _ask(self, what: int | tuple[int, ...]) -> None:
        self._asked.put(what)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ashore-writeback", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            try:
                if isinstance(asked, int):
                    syscalls.start_writing(asked)
                else:
                    for folder in asked:
                        syscalls.syncfs(folder)
            except OSError as error:
                self._fault = error  # the kernel tells a descriptor of a fault once: the next syncfs would not know
            finally:
                if isinstance(asked, int):
                    os.close(asked)


def sync_staged(areas: Sequence[int], names: Sequence[tuple[int, str]]) -> None:
    """Contents and names of staged files: (index of area, name)."""
    for index, area in enumerate(areas):
        files = [name for where, name in names if where == index]
        if len(files) > FEW:
            syscalls.syncfs(area)
            continue
        opened: list[int] = []
        try:
            for name in files:
                opened.append(os.open(name, READ_FILE, dir_fd=area))
                syscalls.start_writing(opened[-1])  # so that the first sync has little to leave to the others
            for descriptor in opened:
                os.fsync(descriptor)
        except PermissionError:  # a mode by which not even the owner may read it
            syscalls.syncfs(area)
        finally:
            for descriptor in opened:
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
