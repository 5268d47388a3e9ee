# SPDX-License-Identifier: Apache-2.0
"""Copy a tree's files the durable ways: `syncs MODE SOURCE TARGET`, MODE none, syncfs or fsync.

Each file is written under a temporary name in one folder and renamed to its place in another one.
"""

import ctypes
import os
import sys


def copy(mode: str, source: str, target: str) -> None:
    """Write, sync, rename, sync."""
    stage, place = os.path.join(target, "stage"), os.path.join(target, "place")
    os.mkdir(stage)
    os.mkdir(place)
    staged, placed = os.open(stage, os.O_RDONLY), os.open(place, os.O_RDONLY)
    count = 0
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                _write(mode, path, f"{count}", staged)
                count += 1
    sync_all(mode, staged)
    for number in range(count):
        os.rename(f"{number}", f"{number}", src_dir_fd=staged, dst_dir_fd=placed)
    if mode == "fsync":
        os.fsync(staged)
        os.fsync(placed)
    sync_all(mode, placed)


def _write(mode: str, path: str, name: str, folder: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
    with open(path, "rb", buffering=0) as file:
        while data := file.read(1 << 20):
            os.write(descriptor, data)
    if mode == "fsync":
        os.fsync(descriptor)
    os.close(descriptor)


def sync_all(mode: str, folder: int) -> None:
    """By file system, if that is the mode."""
    if mode == "syncfs" and ctypes.CDLL(None).syncfs(folder) != 0:
        raise OSError("syncfs")


if __name__ == "__main__":
    copy(*sys.argv[1:])
