# SPDX-License-Identifier: Apache-2.0
"""Folders that runs share: each locks what it uses, and takes away only what nobody uses. A killed run's locks end."""

import contextlib
import fcntl
import os

from ashore.mechanisms.descriptors import READ_FOLDER, closing


class InUse:
    """The folders that one run uses."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def use(self, path: str, *, make: bool = False) -> int:
        """A descriptor of the folder, which stays until `release`; `make` it where it is not there.

        Raises:
            OSError: it is not there, or cannot be made.
        """
        while True:
            if make:
                os.makedirs(path, mode=0o700, exist_ok=True)
            held = self._held.pop(path, None)
            descriptor = os.open(path, READ_FOLDER) if held is None else held
            if held is None:
                with contextlib.suppress(OSError):  # of a file system that has no locks
                    fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for who takes it away
            if _lies_at(descriptor, path):
                self._held[path] = descriptor
                return descriptor
            os.close(descriptor)

    def uses(self, path: str) -> bool:
        return path in self._held

    def remove(self, path: str) -> None:
        """Take the folder away, unless another run uses it."""
        import shutil

        self.release(path)
        with contextlib.suppress(OSError), closing(os.open(path, READ_FOLDER)) as descriptor:
            if _is_free(descriptor) and _lies_at(descriptor, path):
                shutil.rmtree(path, ignore_errors=True)

    def release(self, path: str) -> None:
        if (descriptor := self._held.pop(path, None)) is not None:
            os.close(descriptor)

    def close(self) -> None:
        """None is used any more."""
        for path in list(self._held):
            self.release(path)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system that has no locks
    return True


def _lies_at(descriptor: int, path: str) -> bool:
    """Whether nobody took it away meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
