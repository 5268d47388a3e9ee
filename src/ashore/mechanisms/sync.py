# SPDX-License-Identifier: Apache-2.0
"""Make many changes durable at once: file by file for a few, by file system for many.

Syncing each of 5,000 files takes nine times as long as one syncfs (`make bench`), but syncfs also waits for
what others wrote: so it is for many files only.
"""

import os
import stat
from collections.abc import Iterable, Sequence

from ashore.mechanisms import syscalls
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import parent

FEW = 64


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


def sync_swapped(host: Beneath, areas: Iterable[int], paths: Iterable[str]) -> None:
    """The names that were swapped, on both sides."""
    folders = {parent(path) for path in paths}
    if len(folders) > FEW:
        for area in areas:
            syscalls.syncfs(area)
        return
    for folder in sorted(folders):
        status = host.lstat(folder)
        # A folder that was removed, or became a file, is its parent's affair; that is in the list as well.
        if status is not None and stat.S_ISDIR(status.st_mode):
            os.fsync(host.folder(folder))
    for area in areas:
        os.fsync(area)
