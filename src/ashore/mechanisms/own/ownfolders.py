# SPDX-License-Identifier: Apache-2.0
"""Folders that ashore makes for itself on a host: noted before they are made, so that they can go with it."""

import contextlib
import os

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.state.state import FOLDERS, State
from ashore.nouns.files import ancestors

_LIMIT = 1 << 20


def make(host: Beneath, path: str) -> str:
    """The folder at a logical path, made if need be; its physical path, with the root."""
    physical = host.physical_folder(path)
    missing = [above for above in (*ancestors(physical), physical) if host.lstat(above) is None]
    if missing:
        state = State(host)
        try:
            noted = made(state)
            state.write(FOLDERS, sorted({*noted, *missing}))
        finally:
            state.close()
    for folder in missing:
        directory, name = host.at(folder)
        os.mkdir(name, 0o755, dir_fd=directory)
        host.forget()
    return os.path.join(host.root, physical)


def made(state: State) -> tuple[str, ...]:
    """What was noted, physical paths.

    Raises:
        ChangedError: the note is damaged.
    """
    return state.read(FOLDERS, tuple[str, ...], _LIMIT) or ()


def drop(host: Beneath, folders: tuple[str, ...]) -> None:
    """Remove those that are empty, the deepest first."""
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            host.forget()
            directory, name = host.at(folder)
            os.rmdir(name, dir_fd=directory)
            os.fsync(directory)
