# SPDX-License-Identifier: Apache-2.0
"""The content store: what a kept generation needs and does not lie on the host, by digest."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

from ashore.errors import VerificationError
from ashore.mechanisms import durable, syscalls
from ashore.mechanisms.descriptors import READ_FILE, READ_FOLDER, closing
from ashore.mechanisms.state.state import State
from ashore.nouns.digest import Digest, hex_of, of_hash

_LEAST, _MOST = 1 << 12, 1 << 18
"""Bytes that are read at once: as many as the file has, within these."""


def hash_file(descriptor: int) -> tuple[Digest, int]:
    """Digest and size of an open file, read from its start without moving its offset."""
    hashed, size = hashlib.sha256(), 0
    for piece in _pieces(descriptor):
        hashed.update(piece)
        size += len(piece)
    return of_hash(hashed), size


def copy(source: int, target: int) -> tuple[Digest, int]:
    """Copy an open file from its start into another, and hash what was copied."""
    hashed, size = hashlib.sha256(), 0
    for piece in _pieces(source):
        hashed.update(piece)
        durable.write_all(target, piece)
        size += len(piece)
    return of_hash(hashed), size


def _pieces(descriptor: int) -> Iterator[memoryview]:
    """Each valid until the next is asked for."""
    size = os.fstat(descriptor).st_size
    buffer = memoryview(bytearray(max(_LEAST, min(_MOST, size + 1))))
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        yield buffer[:count]
        offset += count
        if offset == size and count < len(buffer):  # more was asked for, and it ended where it should
            return


class ContentStore:
    """`content/sha256/ab/...` below the state folder. Files are 0600: some hold secrets."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._unsynced: set[Digest] = set()

    def open(self, digest: Digest) -> int | None:
        """A descriptor of the content, None if the store has it not. The reader checks the digest."""
        if self.state.fd is None:
            return None
        try:
            return os.open(_path(digest), READ_FILE, dir_fd=self.state.fd)
        except FileNotFoundError:
            return None

    def has(self, digest: Digest) -> bool:
        if self.state.fd is None:
            return False
        try:
            return stat.S_ISREG(os.stat(_path(digest), dir_fd=self.state.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def put(self, digest: Digest, source: int, *, sync: bool = True) -> None:
        """Copy an open file in, checked. Without `sync` it is not in the store until the caller's `sync` of many.

        Raises:
            VerificationError: it is not what `digest` says; nothing was stored.
        """
        if digest in self._unsynced or self.has(digest):
            return
        folder, name = self._folder(digest, sync=sync), hex_of(digest)
        with closing(folder):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with closing(os.open(f".{name}.new", flags, 0o600, dir_fd=folder)) as target:
                found, _ = copy(source, target)
                if sync:
                    os.fsync(target)
            if found != digest:
                os.unlink(f".{name}.new", dir_fd=folder)
                raise VerificationError(f"content changed while it was stored: expected {digest}, found {found}")
            if not sync:
                # Without a name for now: after a power cut one without its content would be taken for it.
                self._unsynced.add(digest)
                return
            os.rename(f".{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def sync(self) -> None:
        """Make everything that was put or taken without sync durable; what was put is in the store from then on."""
        base = self.state.prepare()
        syscalls.syncfs(base)
        if self._unsynced:
            for digest in self._unsynced:
                folder, _, name = _path(digest).rpartition("/")
                os.rename(f"{folder}/.{name}.new", f"{folder}/{name}", src_dir_fd=base, dst_dir_fd=base)
            self._unsynced.clear()
            syscalls.syncfs(base)

    def sync_names(self, digests: Iterable[Digest]) -> None:
        """Make the names of contents that were taken without sync durable; they themselves are."""
        base = self.state.prepare()
        # One after the other: the first has the file system write what all of them wait for.
        for path in sorted({"content", "content/sha256", *(os.path.dirname(_path(digest)) for digest in digests)}):
            with closing(os.open(path, READ_FOLDER, dir_fd=base)) as folder:
                os.fsync(folder)

    def take(self, digest: Digest, directory: int, name: str, *, sync: bool = True) -> bool:
        """Move a file of the same mount in, without copying. False where that cannot be: copy it then.

        A file with other hard links is not taken: whoever has them could change it later. `sync` as in `put`.
        """
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            return False
        base, path = self.state.prepare(), _path(digest)
        try:
            try:
                os.rename(name, path, src_dir_fd=directory, dst_dir_fd=base)
            except FileNotFoundError:
                os.close(self._folder(digest, sync=sync))
                os.rename(name, path, src_dir_fd=directory, dst_dir_fd=base)
            if stat.S_IMODE(status.st_mode) != 0o600:
                os.chmod(path, 0o600, dir_fd=base)
        except OSError:
            return False
        if sync:
            with closing(self._folder(digest, sync=True)) as folder:
                os.fsync(folder)
        return True

    def give(self, digest: Digest, directory: int, name: str) -> None:
        """Move a content out to a folder of the same mount. `take` brings it back."""
        assert self.state.fd is not None
        os.rename(_path(digest), name, src_dir_fd=self.state.fd, dst_dir_fd=directory)

    def discard(self, digest: Digest) -> None:
        """Forget a content that turned out not to be what its name says."""
        if self.state.fd is not None:
            durable.remove(self.state.fd, _path(digest))

    def scrub(self) -> None:
        """Forget every content that is not what its name says."""
        for digest, _ in list(self.digests()):
            descriptor = self.open(digest)
            assert descriptor is not None
            with closing(descriptor):
                found, _ = hash_file(descriptor)
            if found != digest:
                self.discard(digest)

    def digests(self) -> Iterator[tuple[Digest, int]]:
        """Everything stored, with its size in bytes. What another ashore takes away meanwhile is left out."""
        for folder in self._folders():
            with closing(folder):
                for name in os.listdir(folder):
                    if not name.startswith("."):
                        try:
                            size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
                        except FileNotFoundError:
                            continue
                        yield Digest("sha256:" + name), size

    def retain(self, needed: Iterable[Digest]) -> int:
        """Drop everything that is not `needed`, unfinished writes too; return the bytes freed."""
        keep, freed = {hex_of(d) for d in needed}, 0
        self._unsynced.clear()
        for folder in self._folders():
            with closing(folder):
                for name in set(os.listdir(folder)) - keep:
                    freed += os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
                    os.unlink(name, dir_fd=folder)
        return freed

    def _folder(self, digest: Digest, *, sync: bool) -> int:
        base = self.state.prepare()
        with contextlib.suppress(FileNotFoundError):
            return os.open(os.path.dirname(_path(digest)), READ_FOLDER, dir_fd=base)
        here = "content"
        for part in ("sha256", hex_of(digest)[:2]):
            here = f"{here}/{part}"
            try:
                os.mkdir(here, 0o700, dir_fd=base)
            except FileExistsError:
                continue
            if sync:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                with closing(os.open(os.path.dirname(here), flags, dir_fd=base)) as above:
                    os.fsync(above)
        return os.open(here, READ_FOLDER, dir_fd=base)

    def _folders(self) -> Iterator[int]:
        if self.state.fd is None:
            return
        try:
            top = os.open("content/sha256", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.state.fd)
        except FileNotFoundError:
            return
        with closing(top):
            for name in sorted(os.listdir(top)):
                yield os.open(name, READ_FOLDER, dir_fd=top)


def _path(digest: Digest) -> str:
    name = hex_of(digest)
    return f"content/sha256/{name[:2]}/{name}"
