# SPDX-License-Identifier: Apache-2.0
"""What the kernel saw of files: which were opened or read below a folder (inotify(7))."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_libc = ctypes.CDLL(None, use_errno=True)
_ACCESS, _MODIFY, _OPEN, _ISDIR, _OVERFLOW = 0x1, 0x2, 0x20, 0x40000000, 0x4000
_HEAD = struct.Struct("iIII")


@contextmanager
def touched(root: str, without: tuple[str, ...] = ()) -> Iterator[set[str]]:
    """The files below `root` that are opened, read or written meanwhile; folders `without` are not looked at.

    The set is filled when the context ends.
    """
    found: set[str] = set()
    watcher = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert watcher >= 0, os.strerror(ctypes.get_errno())
    folders: dict[int, str] = {}
    try:
        for folder, below, _ in os.walk(root):
            relative = os.path.relpath(folder, root)
            below[:] = [name for name in below if os.path.normpath(f"{relative}/{name}") not in without]
            watch = _libc.inotify_add_watch(watcher, os.fsencode(folder), _ACCESS | _MODIFY | _OPEN)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            folders[watch] = relative
        yield found
        for watch, mask, name in _events(watcher):
            assert not mask & _OVERFLOW, "there was too much to see"
            if not mask & _ISDIR:
                found.add(os.path.normpath(f"{folders[watch]}/{name}"))
    finally:
        os.close(watcher)


def _events(watcher: int) -> Iterator[tuple[int, int, str]]:
    while True:
        try:
            data = os.read(watcher, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            yield watch, mask, data[at : at + length].rstrip(b"\0").decode()
            at += length
