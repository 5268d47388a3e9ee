# SPDX-License-Identifier: Apache-2.0
"""What `plan` fetched, or a run that was broken off, for the install that follows: a bounded folder outside every
root's own paths."""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping

import msgspec

from ashore.mechanisms import durable
from ashore.mechanisms.state.content import copy, hash_file
from ashore.mechanisms.state.known import FOLDER
from ashore.nouns.digest import Digest, hex_of
from ashore.nouns.files import Entry, Kind

_IMAGES = 4
_TREE = "tree.json"
_LIMIT = 1 << 30


class Cache:
    """A folder of fetched images: each a folder of contents by digest, with its tree."""

    def __init__(self, path: str) -> None:
        self.path = path

    def tree(self, key: str) -> Mapping[str, Entry] | None:
        """The tree of an image that was fetched whole, None if it was not."""
        try:
            folder = os.open(os.path.join(self.path, key), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            tree = durable.unseal(durable.read_all(folder, _TREE, _LIMIT), dict[str, Entry], _TREE)
            return tree if _is_whole(folder, tree) else None
        except Exception:
            return None  # A cache that cannot be read is no cache.
        finally:
            os.close(folder)

    def sink(self, key: str) -> "CacheSink":
        """A place for an image's contents; older images make room."""
        self._evict(_IMAGES - 1, key)
        folder = os.path.join(self.path, key)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return CacheSink(folder)

    def take(self, key: str, files: Iterable[tuple[Digest, int, str]]) -> None:
        """Move files in as contents of that image: each an open folder, and a name there. A full disk keeps fewer."""
        with contextlib.suppress(OSError):
            sink = self.sink(key)
            for digest, directory, name in files:
                sink.take(digest, directory, name)

    def size(self, key: str) -> int:
        """Bytes that are here of an image."""
        with contextlib.suppress(OSError):
            return sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(os.path.join(self.path, key)))
        return 0

    def finish(self, key: str, tree: Mapping[str, Entry]) -> None:
        """The image is whole."""
        folder = os.open(os.path.join(self.path, key), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            durable.replace(folder, _TREE, durable.seal(dict(tree)))
        finally:
            os.close(folder)

    def open(self, key: str, digest: Digest) -> int | None:
        """A content of that image; the reader checks the digest."""
        with contextlib.suppress(OSError):
            return os.open(os.path.join(self.path, key, hex_of(digest)), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return None

    def kept(self, key: str) -> frozenset[Digest]:
        """The contents that are here of an image that is not whole. What is not as its name says goes."""
        found: set[Digest] = set()
        with contextlib.suppress(OSError):
            for name in os.listdir(os.path.join(self.path, key)):
                if (
                    not name.startswith(".")
                    and name != _TREE
                    and self._is_right(key, digest := Digest(f"sha256:{name}"))
                ):
                    found.add(digest)
        return frozenset(found)

    def _is_right(self, key: str, digest: Digest) -> bool:
        descriptor = self.open(key, digest)
        if descriptor is None:
            return False
        try:
            right = hash_file(descriptor)[0] == digest
        finally:
            os.close(descriptor)
        if not right:
            os.unlink(os.path.join(self.path, key, hex_of(digest)))
        return right

    def drop(self, key: str) -> None:
        _remove(os.path.join(self.path, key))

    def clear(self) -> None:
        """Nothing is kept any more."""
        _remove(self.path)

    def _evict(self, keep: int, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            images = [entry for entry in os.scandir(self.path) if entry.name not in (FOLDER, key)]
            folders = sorted(images, key=lambda e: e.stat().st_mtime, reverse=True)
            for folder in folders[keep:]:
                _remove(folder.path)


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _is_whole(folder: int, tree: Mapping[str, Entry]) -> bool:
    """Whether every content has its size: contents are not synced, so that a power cut may leave less of them."""
    sizes = {hex_of(entry.digest): entry.size for entry in tree.values() if entry.kind is Kind.FILE}
    return all(os.stat(name, dir_fd=folder, follow_symlinks=False).st_size == size for name, size in sizes.items())


class CacheSink:
    """ports.ContentSink into a cache folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._count = 0

    def create(self, path: str, size: int) -> "CacheFile":
        self._count += 1
        return CacheFile(self._folder, os.path.join(self._folder, f".{os.getpid()}.{self._count}"))

    def discard(self, path: str) -> None:
        """Contents are by digest here; one too many does no harm."""

    def take(self, digest: Digest, directory: int, name: str) -> None:
        """Move a file in, or copy it where it lies on another mount."""
        try:
            os.rename(name, os.path.join(self._folder, hex_of(digest)), src_dir_fd=directory)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(digest, directory, name)

    def _copy(self, digest: Digest, directory: int, name: str) -> None:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        file = self.create(name, 0)
        try:
            _, size = copy(source, file.fd)
        except BaseException:
            file.abort()
            raise
        finally:
            os.close(source)
        file.commit(digest, size)


class CacheFile:
    """ports.ContentFile in a cache folder."""

    def __init__(self, folder: str, path: str) -> None:
        self._folder, self._path = folder, path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | memoryview, /) -> None:
        durable.write_all(self.fd, data)

    def commit(self, digest: Digest, size: int) -> None:
        os.close(self.fd)
        os.rename(self._path, os.path.join(self._folder, hex_of(digest)))

    def abort(self) -> None:
        os.close(self.fd)
        os.unlink(self._path)


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image's contents are, for `Supply`."""

    cache: Cache
    key: str

    def opener(self, digest: Digest) -> int | None:
        return self.cache.open(self.key, digest)
