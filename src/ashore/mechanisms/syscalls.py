# SPDX-License-Identifier: Apache-2.0
"""The kernel calls that Python has no wrapper for: openat2, renameat2, syncfs, sync_file_range, statx."""

import contextlib
import ctypes
import errno
import os
import struct

import msgspec

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
for _name, _types in {
    "syscall": (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
    "renameat2": (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint),
    "statx": (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p),
    "syncfs": (ctypes.c_int,),
    "sync_file_range": (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint),
}.items():
    with contextlib.suppress(AttributeError):  # an old libc: whoever needs the call will be told
        getattr(_libc, _name).argtypes = _types

_SYS_OPENAT2 = 437  # the same number on every architecture
_TRIES = 100
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2

_SYNC_FILE_RANGE_WRITE = 2

_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_MNT_ID = 0x1000
_STATX = struct.Struct("=I4xQ128xQ")
"""stx_mask, stx_attributes and stx_mnt_id."""
_StatxBuffer = ctypes.c_char * 256
_STATX_ATTR_IMMUTABLE = 0x10
_STATX_ATTR_APPEND = 0x20
_STATX_ATTR_MOUNT_ROOT = 0x2000


class Marks(msgspec.Struct, frozen=True):
    """What statx tells beyond stat. `mount` is 0 where the kernel is older than 5.8."""

    mount: int
    immutable: bool
    mount_point: bool


def openat2(directory: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open `path` beneath `directory`, resolved by the kernel (openat2(2), Linux 5.6).

    Raises:
        OSError: as openat2; ENOSYS or EPERM where the kernel or a seccomp profile has none.
    """
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_TRIES):
        result: int = _libc.syscall(_SYS_OPENAT2, directory, os.fsencode(path), how, len(how))
        if result >= 0:
            return result
        # Beneath a root "..", and a mount or rename anywhere on the machine meanwhile: the kernel asks to try again.
        if ctypes.get_errno() != errno.EAGAIN:
            break
    raise _failure(path)


def exchange(first_dir: int, first: str, second_dir: int, second: str) -> None:
    """Swap two names atomically: neither is ever missing (renameat2(2), RENAME_EXCHANGE)."""
    _renameat2(first_dir, first, second_dir, second, _RENAME_EXCHANGE)


def rename_new(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """Rename, and fail with FileExistsError rather than replace (renameat2(2), RENAME_NOREPLACE)."""
    _renameat2(source_dir, source, target_dir, target, _RENAME_NOREPLACE)


def syncfs(descriptor: int) -> None:
    """Write back everything of the file system that `descriptor` is on; reports what failed since it was opened."""
    if _libc.syncfs(descriptor) < 0:
        raise _failure("")


def start_writing(descriptor: int) -> None:
    """Have the kernel begin to write back an open file (sync_file_range(2)). What goes wrong, the next sync tells."""
    with contextlib.suppress(AttributeError):
        _libc.sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def marks(directory: int, name: str) -> Marks:
    """Mount and attributes of `name` itself, not of what a symlink points at (statx(2))."""
    buffer = _StatxBuffer()
    flags = _AT_SYMLINK_NOFOLLOW | (0x1000 if not name else 0)
    if _libc.statx(directory, os.fsencode(name), flags, _STATX_MNT_ID, buffer) < 0:
        raise _failure(name)
    answered, attributes, mount = _STATX.unpack_from(buffer)
    return Marks(
        mount=mount if answered & _STATX_MNT_ID else 0,
        immutable=bool(attributes & (_STATX_ATTR_IMMUTABLE | _STATX_ATTR_APPEND)),
        mount_point=bool(attributes & _STATX_ATTR_MOUNT_ROOT),
    )


def _renameat2(first_dir: int, first: str, second_dir: int, second: str, flag: int) -> None:
    if _libc.renameat2(first_dir, os.fsencode(first), second_dir, os.fsencode(second), flag) < 0:
        raise _failure(second)


def _failure(path: str) -> OSError:
    number = ctypes.get_errno() or errno.EIO
    return OSError(number, os.strerror(number), path)
