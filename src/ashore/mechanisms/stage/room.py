# SPDX-License-Identifier: Apache-2.0
"""Whether the mounts that files go to have room for them; and which one it was that had none after all."""

import contextlib
import os
from collections.abc import Iterable, Sequence

from ashore.errors import Issue, UnchangedError, reason_of, remedy_of
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.stage.mounts import top_of
from ashore.mechanisms.stage.staging import Staging
from ashore.nouns.config import STATE_FOLDER
from ashore.nouns.files import Entry, parent, shown

_MARGIN = 4 << 20
"""Bytes to leave free: for the journal, the record and the file system's own needs."""
_MOUNTED = ("", "etc", "opt", "usr", "usr/local", "var")
"""Folders that often are mounts of their own, and that bundles have files in."""
_SHRINKS = 4
"""Few layers are compressed to less than the fourth part."""


def lacking(staging: Staging, files: Iterable[tuple[str, Entry]]) -> list[Issue]:
    """The mounts that cannot take these files, each with its physical path, and leave something free."""
    host, devices = staging.host, dict[str, int]()
    needs: dict[int, int] = {}
    folders: dict[int, str] = {}
    linked: set[tuple[int, str]] = set()
    for path, entry in files:
        folder = staging.standing(parent(path))
        if (device := devices.get(folder)) is None:
            device = devices[folder] = os.fstat(host.folder(folder)).st_dev
        if entry.link:  # its other names are of the same inode
            if (device, entry.link) in linked:
                continue
            linked.add((device, entry.link))
        needs[device] = needs.get(device, 0) + entry.size
        folders[device] = folder
    issues = []
    for device, need in needs.items():
        free = _free(host, folders[device])
        if free is not None and need + _MARGIN > free:
            message = (
                f"too little space: {need + _MARGIN} bytes are needed, {_MARGIN} of them to spare; {free} are free"
            )
            where = shown(top_of(host, folders[device]))
            issues.append(Issue(where=where, message=message, remedy="make room, or: ashore prune"))
    return issues


def may_be_scarce(host: Beneath, stored: int) -> bool:
    """Whether an image of so many bytes, compressed, could be too large for a mount that is often one of its own."""
    for folder in _MOUNTED:
        with contextlib.suppress(OSError):  # there is no such folder
            free = _free(host, folder)
            if free is not None and stored * _SHRINKS + _MARGIN > free:
                return True
    return False


def _free(host: Beneath, folder: str) -> int | None:
    """Bytes; None of what is read-only: it may well have none free, and room is not what it lacks."""
    system = os.fstatvfs(host.folder(folder))
    return None if system.f_flag & os.ST_RDONLY else system.f_bavail * system.f_frsize


def unwritable(staging: Staging, error: OSError, what: str, areas: Sequence[int]) -> UnchangedError:
    """Why `what` could not be written, and which file system it is: the one of an area, or one of several."""
    mounts = sorted({shown(_mount(staging, area)) for area in areas})
    return UnchangedError(
        f"{what} cannot be written; the host is as it was before",
        cause=f"{reason_of(error)}, on what is mounted at {' or '.join(mounts)}",
        remedy=remedy_of(error),
    )


def _mount(staging: Staging, area: int) -> str:
    if area != staging.own_area():
        return staging.areas[area].mount
    try:
        return top_of(staging.host, parent(staging.areas[area].path))
    except OSError:
        return STATE_FOLDER
