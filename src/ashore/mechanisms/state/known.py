# SPDX-License-Identifier: Apache-2.0
"""What was read of images and will be asked for again with their next versions: tables, and texts that rules read.

A folder of files by digest. Whoever reads one checks it, so that it need not be trusted, synced or kept: what is
missing is fetched again.
"""

import contextlib
import os

from ashore.mechanisms import durable
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.nouns.digest import Digest, hex_of, of
from ashore.nouns.limits import Limits

FOLDER = "known"
_SHARE = 4
"""One file may take the fourth part of the room."""


class Known:
    """The folder `path`, which is made when something is put there. `most`: bytes of one file."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._room = limits.known
        self.most = limits.known // _SHARE

    def get(self, digest: Digest) -> bytes | None:
        """What has this digest, None if it is not (or no longer) known."""
        data = self.read(hex_of(digest))
        return data if data is not None and of(data) == digest else None

    def put(self, digest: Digest, data: bytes) -> None:
        """Keep `data`; where that cannot be, it is fetched again the next time."""
        self.write(hex_of(digest), data)

    def read(self, name: str) -> bytes | None:
        """A file that somebody may have changed."""
        path = os.path.join(self._path, name)
        try:
            descriptor = os.open(path, READ_FILE | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(self.most + 1)
            os.utime(path)  # what is used stays longest
        except OSError:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """A file, unless it is there."""
        if len(data) > self.most:
            return
        path = os.path.join(self._path, name)
        beside = os.path.join(self._path, f".{os.urandom(8).hex()}")
        with contextlib.suppress(OSError):
            if os.path.exists(path):
                return
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with closing(os.open(beside, flags, 0o600)) as descriptor:
                    durable.write_all(descriptor, data)
                os.rename(beside, path)
            except OSError:
                os.unlink(beside)
            self._trim()

    def _trim(self) -> None:
        """Drop what was not used for longest, unfinished files of a killed run first."""
        found = sorted(
            (
                (entry.name[0] != ".", entry.stat().st_mtime, entry.path, entry.stat().st_size)
                for entry in os.scandir(self._path)
            ),
            reverse=True,
        )
        total = 0
        for named, _, path, size in found:
            total += size
            if total > self._room or not named:
                os.unlink(path)
