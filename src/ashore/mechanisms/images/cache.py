# SPDX-License-Identifier: Apache-2.0
"""What `plan` fetched, or a run that was broken off, for the install that follows: a bounded folder outside every
root's own paths."""

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from ashore.errors import UnchangedError, reason_of
from ashore.mechanisms import durable
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.mechanisms.images.inuse import InUse
from ashore.mechanisms.state.content import copy, hash_file
from ashore.mechanisms.state.known import FOLDER
from ashore.nouns.digest import Digest, hex_of
from ashore.nouns.files import Entry, Kind, printable

_IMAGES = 4
_TREE = "tree.json"
_LIMIT = 1 << 30
_REMEDY = "have room there, in a folder that can be written, or name another one: ASHORE_CACHE=DIR"


class Cache:
    """A folder of fetched images: each a folder of contents by digest, with its tree. Those in use stay."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._used = InUse()

    def close(self) -> None:
        """What was used here may make room for others."""
        self._used.close()

    def tree(self, key: str) -> Mapping[str, Entry] | None:
        """The tree of an image that was fetched whole, None if it was not."""
        try:
            folder = self._used.use(os.path.join(self.path, key))
            tree = durable.unseal(durable.read_all(folder, _TREE, _LIMIT), dict[str, Entry], _TREE)
            return tree if _is_whole(folder, tree) else None
        except Exception:
            return None  # A cache that cannot be read is no cache.

    def sink(self, key: str) -> "CacheSink":
        """A place for an image's contents; older images make room.

        Raises:
            UnchangedError: there is none.
        """
        folder = os.path.join(self.path, key)
        with _writing(self.path, _REMEDY):
            self._evict(_IMAGES - 1, key)
            self._used.use(folder, make=True)
        return CacheSink(folder, self.path, _REMEDY)

    def take(self, key: str, files: Iterable[tuple[Digest, int, str]]) -> None:
        """Move files in as contents of that image: each an open folder, and a name there. A full disk keeps fewer."""
        with contextlib.suppress(OSError, UnchangedError):
            sink = self.sink(key)
            for digest, directory, name in files:
                sink.take(digest, directory, name)

    def size(self, key: str) -> int:
        """Bytes that are here of an image."""
        with contextlib.suppress(OSError):
            return sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(os.path.join(self.path, key)))
        return 0

    def finish(self, key: str, tree: Mapping[str, Entry]) -> None:
        """The image is whole.

        Raises:
            UnchangedError: there is no room to say so.
        """
        with _writing(self.path, _REMEDY):
            durable.replace(self._used.use(os.path.join(self.path, key)), _TREE, durable.seal(dict(tree)))

    def open(self, key: str, digest: Digest) -> int | None:
        """A content of that image; the reader checks the digest."""
        with contextlib.suppress(OSError):
            return os.open(os.path.join(self.path, key, hex_of(digest)), READ_FILE)
        return None

    def kept(self, key: str) -> frozenset[Digest]:
        """The contents that are here of an image that is not whole. What is not as its name says goes."""
        found: set[Digest] = set()
        with contextlib.suppress(OSError):
            for name in os.listdir(self._used.use(os.path.join(self.path, key))):
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
        with closing(descriptor):
            right = hash_file(descriptor)[0] == digest
        if not right:
            os.unlink(os.path.join(self.path, key, hex_of(digest)))
        return right

    def distrust(self, key: str) -> None:
        """Something of that image turned out damaged: what is right of it may be used, by who looks at each content."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.path, key, _TREE))

    def drop(self, key: str) -> None:
        """That image is not needed any longer, unless another run uses it."""
        self._used.remove(os.path.join(self.path, key))

    def clear(self) -> None:
        """Nothing is kept any more."""
        import shutil

        shutil.rmtree(self.path, ignore_errors=True)

    def _evict(self, keep: int, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            images = [entry for entry in os.scandir(self.path) if entry.name not in (FOLDER, key)]
            folders = sorted(images, key=_changed, reverse=True)
            for folder in folders[keep:]:
                if not self._used.uses(folder.path):
                    self._used.remove(folder.path)


def _changed(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0  # another run took it away


@contextlib.contextmanager
def _writing(folder: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(folder, remedy, error) from error


def _refused(folder: str, remedy: str, error: OSError) -> UnchangedError:
    return UnchangedError(f"cannot keep what is fetched in {printable(folder)}", cause=reason_of(error), remedy=remedy)


def _is_whole(folder: int, tree: Mapping[str, Entry]) -> bool:
    """Whether every content has its size: contents are not synced, so that a power cut may leave less of them."""
    sizes = {hex_of(entry.digest): entry.size for entry in tree.values() if entry.kind is Kind.FILE}
    return all(os.stat(name, dir_fd=folder, follow_symlinks=False).st_size == size for name, size in sizes.items())


class CacheSink:
    """ports.ContentSink into a cache folder. `said`: how messages name it."""

    def __init__(self, folder: str, said: str = "", remedy: str = "make room there, or set TMPDIR") -> None:
        self._folder = folder
        self._refused = functools.partial(_refused, said or folder, remedy)
        self._count = 0

    def create(self, path: str, size: int) -> "CacheFile":
        """A file to fill; it, too, raises UnchangedError where the folder cannot be written."""
        self._count += 1
        try:
            beside = os.path.join(self._folder, f".{os.getpid()}.{self._count}")
            return CacheFile(self._folder, beside, self._refused)
        except OSError as error:
            raise self._refused(error) from error

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
        source = os.open(name, READ_FILE, dir_fd=directory)
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

    def __init__(self, folder: str, path: str, refused: Callable[[OSError], UnchangedError]) -> None:
        self._folder, self._path, self._refused = folder, path, refused
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | memoryview, /) -> None:
        try:
            durable.write_all(self.fd, data)
        except OSError as error:
            raise self._refused(error) from error

    def commit(self, digest: Digest, size: int) -> None:
        os.close(self.fd)
        try:
            os.rename(self._path, os.path.join(self._folder, hex_of(digest)))
        except OSError as error:
            raise self._refused(error) from error

    def abort(self) -> None:
        os.close(self.fd)
        with contextlib.suppress(FileNotFoundError):  # somebody deleted the cache
            os.unlink(self._path)
