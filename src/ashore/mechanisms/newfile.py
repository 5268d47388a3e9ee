# SPDX-License-Identifier: Apache-2.0
"""A file that appears whole, or not at all: written beside its name, synced, renamed."""

import contextlib
import os
from collections.abc import Iterator

from ashore.errors import UnchangedError, words_of
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.durable import write_all


class NewFile:
    """A context: what was not committed when it ends is gone."""

    def __init__(self, folder: str, name: str, *, mode: int = 0o644) -> None:
        self._final = os.path.join(folder, name)
        self._beside = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.new")
        self._mode = mode
        self.descriptor = -1

    def __enter__(self) -> "NewFile":
        self.descriptor = os.open(self._beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        write_all(self.descriptor, data)

    def position(self) -> int:
        """How much was written."""
        return os.lseek(self.descriptor, 0, os.SEEK_CUR)

    def back_to(self, position: int) -> None:
        """Forget what was written after `position`."""
        os.ftruncate(self.descriptor, position)
        os.lseek(self.descriptor, position, os.SEEK_SET)

    def commit(self) -> None:
        """Give it its name, durably."""
        os.fsync(self.descriptor)
        os.rename(self._beside, self._final)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with closing(os.open(os.path.dirname(self._final) or ".", flags)) as folder:
            os.fsync(folder)

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._beside)


@contextlib.contextmanager
def write_fault(place: str) -> Iterator[None]:
    """Faults of the file system below `place` as our own error: nothing that has a name was changed."""
    try:
        yield
    except OSError as error:
        raise UnchangedError(f"cannot write {place}", cause=words_of(error)) from error
