# SPDX-License-Identifier: Apache-2.0
"""Open files and folders, by their descriptors."""

import contextlib
import os
from collections.abc import Iterator

READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_FOLDER = READ_FILE | os.O_DIRECTORY
"""Flags to open what itself has a name: a symlink there is none."""


@contextlib.contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """The descriptor, which is closed at the end: `contextlib.closing` for a number."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)
