# SPDX-License-Identifier: Apache-2.0
"""Which mount a folder is on, and whether the mounts that a transaction touched are there when it is ended."""

import os

from ashore.errors import ChangedError, Issue
from ashore.mechanisms import syscalls
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import parent, shown
from ashore.nouns.journal import Area, StagedStep

Key = tuple[int, int]


def key(folder: int) -> Key:
    """Equal where a rename between two folders can work."""
    # Bind mounts share a device and still refuse a rename; btrfs subvolumes share a mount and refuse it too.
    return syscalls.marks(folder, "").mount, os.fstat(folder).st_dev


def top_of(host: Beneath, folder: str) -> str:
    """The topmost folder of the mount that `folder` is on: where it is mounted."""
    here, top = key(host.folder(folder)), folder
    while top and key(host.folder(parent(top))) == here:
        top = parent(top)
    return top


def refuse_absent(host: Beneath, areas: tuple[Area, ...]) -> None:
    """Where a staging folder's mount is absent, what it has to undo or keep is out of reach, and not done already.

    Raises:
        ChangedError: such a mount is not there.
    """
    absent = {area.mount for area in areas if host.lstat(area.path) is None and not _is_mounted(host, area.mount)}
    if absent:
        raise ChangedError(
            "an interrupted transaction cannot be ended: it had touched a mount that is not there",
            remedy="mount what is listed, then run: ashore recover",
            issues=[Issue(where=shown(mount), message="is not mounted now") for mount in sorted(absent)],
        )


def covered(host: Beneath, areas: list[int | None], steps: tuple[StagedStep, ...]) -> list[Issue]:
    """What is mounted over files that the steps have changed: whoever looks at their paths sees others."""
    keys = [key(area) if area is not None else None for area in areas]
    wrong: dict[str, bool] = {}
    for step in steps:
        if not step.name or step.carried or (area := keys[step.area]) is None:
            continue
        folder = _standing(host, parent(step.step.path))
        if folder not in wrong:
            wrong[folder] = key(host.folder(folder)) != area
    over = {top_of(host, folder) for folder, is_wrong in wrong.items() if is_wrong}
    return [Issue(where=shown(top), message=_COVERS, remedy="unmount it") for top in sorted(over)]


_COVERS = "what is mounted there now was not when the transaction began, and covers what that had changed"


def _standing(host: Beneath, folder: str) -> str:
    while folder and not host.is_folder(folder):
        folder = parent(folder)
    return folder


def _is_mounted(host: Beneath, mount: str) -> bool:
    return not mount or (host.is_folder(mount) and top_of(host, mount) == mount)
