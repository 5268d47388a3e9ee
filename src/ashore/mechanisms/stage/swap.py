# SPDX-License-Identifier: Apache-2.0
"""One step of a plan on the host, and its inverse.

Both may be repeated: each looks at which inode lies where. Before the swap the staging name holds the new
inode, after it the displaced one; nothing is ever written in place, and a replaced path is never missing.
"""

import contextlib
import errno
import os
import stat

from ashore.errors import Issue
from ashore.mechanisms import selinux, syscalls
from ashore.mechanisms.attributes import give, may_own
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import READ_FOLDER, closing
from ashore.nouns.files import Entry, shown
from ashore.nouns.journal import StagedStep
from ashore.nouns.plan import Action


def do(host: Beneath, areas: list[int], staged: StagedStep) -> None:
    """Carry out one step. `areas` are descriptors of the staging folders.

    Raises:
        OSError: the host refused; what was done so far is undone by `undo`.
    """
    step = staged.step
    if staged.carried:
        return
    directory, name = host.at(step.path)
    match step.action:
        case Action.CREATE:
            syscalls.rename_new(areas[staged.area], staged.name, directory, name)
        case Action.REPLACE:
            syscalls.exchange(areas[staged.area], staged.name, directory, name)
        case Action.REMOVE:
            syscalls.rename_new(directory, name, areas[staged.area], staged.name)
        case Action.MKDIR:
            assert step.new is not None
            syscalls.rename_new(areas[staged.area], staged.name, directory, name)
            dress_folder(host, directory, name, step.new, staged.label)
        case Action.RMDIR:
            os.rmdir(name, dir_fd=directory)
            host.forget()
        case Action.CHANGE_DIR:
            assert step.new is not None
            _change_folder(directory, name, step.new)


def undo(host: Beneath, areas: list[int | None], staged: StagedStep) -> Issue | None:
    """Take one step back, if it was taken; tell what could not be. An area is None if its folder is gone.

    Raises:
        OSError: the host refused.
    """
    step = staged.step
    parts = _locate(host, step.path)
    if parts is None:
        return None  # Its folder is not there, so the step was never taken.
    directory, name = parts
    area = areas[staged.area] if staged.name else None
    match step.action:
        case Action.CREATE:
            if area is not None and _inode(directory, name) == staged.inode:
                # The folder that carried it is not in the area any more.
                back = f"u{staged.inode}" if staged.carried else staged.name
                os.rename(name, back, src_dir_fd=directory, dst_dir_fd=area)
        case Action.REPLACE:
            return _undo_replace(directory, name, area, staged)
        case Action.REMOVE:
            return _undo_remove(directory, name, area, staged)
        case Action.MKDIR:
            if _inode(directory, name) != staged.inode:
                return None  # Somebody else's, which came first.
            return _undo_mkdir(host, directory, name, step.path)
        case Action.RMDIR:
            if step.old is not None:
                _bring_folder_back(host, directory, name, step.old, staged.label)
        case Action.CHANGE_DIR:
            if step.old is not None and _inode(directory, name) is not None:
                _change_folder(directory, name, step.old)
    return None


def _undo_replace(directory: int, name: str, area: int | None, staged: StagedStep) -> Issue | None:
    if area is None or _inode(directory, name) != staged.inode:
        return None
    if _inode(area, staged.name) is None:
        return _left(staged, "what was there before is gone from the staging folder")
    syscalls.exchange(area, staged.name, directory, name)
    return None


def _undo_remove(directory: int, name: str, area: int | None, staged: StagedStep) -> Issue | None:
    if area is None or _inode(area, staged.name) is None:
        return None
    try:
        syscalls.rename_new(area, staged.name, directory, name)
    except FileExistsError:
        return _left(staged, "something new lies there, so what was removed was not put back")
    return None


def _undo_mkdir(host: Beneath, directory: int, name: str, path: str) -> Issue | None:
    try:
        os.rmdir(name, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None  # It was not made yet, or what it makes room for still lies there.
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return Issue(where=shown(path), message="the folder stays: something else put files into it meanwhile")
    host.forget()
    return None


def _left(staged: StagedStep, message: str) -> Issue:
    return Issue(where=shown(staged.step.path), message=message)


def _bring_folder_back(host: Beneath, directory: int, name: str, entry: Entry, label: str) -> None:
    """A folder that is there may be one that an interrupted undo had made, and not yet given its mode."""
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return
    dress_folder(host, directory, name, entry, label)


def dress_folder(host: Beneath, directory: int, name: str, entry: Entry, label: str) -> int:
    """Give a folder its label, owner, mode and attributes; return its inode's number."""
    if label:
        selinux.set_label(host, directory, name, label)
    return _change_folder(directory, name, entry)


def _change_folder(directory: int, name: str, entry: Entry) -> int:
    with closing(os.open(name, READ_FOLDER, dir_fd=directory)) as descriptor:
        return give(descriptor, entry)


def _locate(host: Beneath, path: str) -> tuple[int, str] | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return host.at(path)
    return None


def _inode(directory: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def make_folder(area: int, name: str) -> int:
    """Stage an empty folder, for us alone until it has its place; return its inode's number."""
    os.mkdir(name, 0o700, dir_fd=area)
    return os.stat(name, dir_fd=area, follow_symlinks=False).st_ino


def place_link(area: int, name: str, entry: Entry) -> int:
    """Stage a symlink with its owner; return its inode's number."""
    os.symlink(entry.target, name, dir_fd=area)
    if may_own():
        os.chown(name, entry.uid, entry.gid, dir_fd=area, follow_symlinks=False)
    return os.stat(name, dir_fd=area, follow_symlinks=False).st_ino
