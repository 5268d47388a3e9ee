# SPDX-License-Identifier: Apache-2.0
"""A tree as a value: everything that a reader of its paths could see, for comparison before and after."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDERS = ("etc", "home", "mnt", "opt", "root", "srv", "usr", "var/lib", "var/spool")
"""All that a bundle may write to; systemd and the package manager keep nothing there that changes by itself."""
RESTLESS = ("var/lib/systemd", "var/lib/dbus", "var/lib/ashore", "etc/.updated", "var/.updated", "etc/ld.so.cache")

Snapshot = Mapping[str, tuple[object, ...]]

_hashes: dict[tuple[int, int, int, int], str] = {}
"""By identity and change marks, so that a second look at an unchanged tree reads no content."""


def snapshot(root: Path, folders: Sequence[str] = ()) -> Snapshot:
    """Kind, mode, owner, xattrs and content (hash or target) of every path below the folders, the folders included."""
    found: dict[str, tuple[object, ...]] = {}
    for folder in folders or FOLDERS:
        _walk(str(root), folder.strip("/"), found)
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """One line for each path that differs, sorted."""
    lines = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old != new:
            lines.append(f"+ {path}" if old is None else f"- {path}" if new is None else f"~ {path}: {old} -> {new}")
    return lines


def _walk(root: str, path: str, found: dict[str, tuple[object, ...]]) -> None:
    if path in RESTLESS:
        return
    full = os.path.join(root, path)
    try:
        status = os.lstat(full)
    except FileNotFoundError:
        return
    mode = status.st_mode
    xattrs = tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in sorted(_xattrs(full)))
    seen = (stat.filemode(mode), status.st_uid, status.st_gid, xattrs)
    if stat.S_ISLNK(mode):
        found[path] = (*seen, os.readlink(full))
    elif stat.S_ISREG(mode):
        found[path] = (*seen, status.st_size, _hash(full, status))
    else:
        found[path] = seen
    if stat.S_ISDIR(mode):
        for name in os.listdir(full):
            _walk(root, f"{path}/{name}", found)


def _xattrs(full: str) -> list[str]:
    return os.listxattr(full, follow_symlinks=False)


def _hash(full: str, status: os.stat_result) -> str:
    key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _hashes:
        with open(full, "rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]
