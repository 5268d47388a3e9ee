# SPDX-License-Identifier: Apache-2.0
"""Files beneath a root, resolved by the kernel: no path, symlink or race leads outside.

Two ways to name a file. A *physical* path has no symlink in its folders; it is what plans and journals
hold, and a symlink met in it is an error. A *logical* path is followed as a process in that root would.
"""

import errno
import os
import stat
from collections import OrderedDict
from types import TracebackType
from typing import Self

from ashore.mechanisms import syscalls
from ashore.mechanisms.descriptors import READ_FOLDER, closing
from ashore.nouns.files import ancestors, parent

_CACHED_FOLDERS = 400
"""Well below the usual limit of 1,024 descriptors."""
_NO_FOLDER: tuple[str | None, int] = (None, -1)
_PHYSICAL = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_LOGICAL = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_MOST_SYMLINKS = 40


class Beneath:
    """A root, and the one way to its files. All paths are relative, as in `nouns.files`."""

    def __init__(self, root: str) -> None:
        """Open `root`.

        Raises:
            OSError: it is not a folder, or not readable.
        """
        self.root = os.path.realpath(root)
        self.fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folders: OrderedDict[str, int] = OrderedDict()
        self._latest = _NO_FOLDER
        self._kernel_resolves = True

    def close(self) -> None:
        """Give the descriptors back; once more does no harm."""
        self.forget()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self, path: str, flags: int, *, mode: int = 0o600, follow: bool = False) -> int:
        """Open a physical path, or with `follow` a logical one, without leaving the root."""
        resolve = _LOGICAL if follow else _PHYSICAL
        if self._kernel_resolves:
            try:
                return syscalls.openat2(
                    self.fd, path or ".", flags, mode=mode if flags & os.O_CREAT else 0, resolve=resolve
                )
            except OSError as error:
                # Kernels before 5.6 lack the call; some seccomp profiles answer EPERM for what they do not know.
                if error.errno != errno.ENOSYS and not (error.errno == errno.EPERM and self._refused_outright()):
                    raise
                self._kernel_resolves = False
        return self._walk(path, flags, mode, follow)

    def folder(self, path: str) -> int:
        """A descriptor of the folder at a physical path. It stays ours: do not close it."""
        if path == self._latest[0]:  # paths come in order, mostly
            return self._latest[1]
        descriptor = self._folders.get(path)
        if descriptor is None:
            above, _, name = path.rpartition("/")
            known = self._folders.get(above) if above else None
            try:
                if known is None:
                    descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
                else:  # one name, not followed: nothing that has to be resolved
                    descriptor = os.open(name, READ_FOLDER, dir_fd=known)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise NotADirectoryError(errno.ENOTDIR, "a symlink is no folder", path) from error
                error.filename = path
                raise
            self._folders[path] = descriptor
            if len(self._folders) > _CACHED_FOLDERS:
                os.close(self._folders.popitem(last=False)[1])
        else:
            self._folders.move_to_end(path)
        self._latest = path, descriptor
        return descriptor

    def forget(self) -> None:
        """Drop remembered folders: after one was removed or made."""
        self._latest = _NO_FOLDER
        while self._folders:
            os.close(self._folders.popitem()[1])

    def at(self, path: str) -> tuple[int, str]:
        """The folder's descriptor and the last name of a physical path, for ``*at`` calls."""
        folder, _, name = path.rpartition("/")
        return self.folder(folder), name

    def lstat(self, path: str) -> os.stat_result | None:
        """What lies at a physical path, None if nothing does or its folder is no folder."""
        folder, _, name = path.rpartition("/")
        try:
            directory = self.folder(folder)
            return os.stat(name, dir_fd=directory, follow_symlinks=False) if name else os.stat(directory)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def readlink(self, path: str) -> str:
        directory, name = self.at(path)
        return os.readlink(name, dir_fd=directory)

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, sorted. A logical path."""
        with closing(self.open(path, os.O_RDONLY | os.O_DIRECTORY, follow=True)) as descriptor:
            return sorted(os.listdir(descriptor))

    def read_bytes(self, path: str, limit: int) -> bytes:
        """The content of the regular file at a logical path.

        Raises:
            OSError: nothing lies there, or no regular file, or more than `limit` bytes (EFBIG).
        """
        with closing(self.open_regular(path)) as descriptor:
            data = bytearray()
            while len(data) <= limit and (piece := os.read(descriptor, min(1 << 20, limit + 1 - len(data)))):
                data += piece
            if len(data) > limit:
                raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
            return bytes(data)

    def text_of(self, path: str, limit: int) -> str | None:
        """The text of the regular file at a logical path; None where `read_bytes` has nothing."""
        try:
            return self.read_bytes(path, limit).decode(errors="replace")
        except OSError:
            return None

    def open_regular(self, path: str) -> int:
        """Open the regular file at a logical path to read it; OSError if nothing lies there, or no regular file."""
        # O_NONBLOCK: opening a FIFO that somebody put there must not hang.
        descriptor = self.open(path, os.O_RDONLY | os.O_NONBLOCK, follow=True)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return descriptor

    def physical(self, path: str) -> str:
        """The physical path of a logical one whose last part is not followed: ``lib/x`` -> ``usr/lib/x``.

        Folders that do not exist yet are taken as they are named.

        Raises:
            OSError: more than 40 symlinks, or one on the way that somebody else could change.
        """
        return Following(self).physical(path)

    def physical_folder(self, path: str) -> str:
        """The physical path of the folder at a logical one: here its last part is followed as well."""
        return Following(self).folder(path)

    def is_there(self, path: str) -> bool:
        """Whether anything has the name of a logical path, a symlink too: its last part is not followed."""
        return self.lstat(self.physical(path)) is not None

    def is_folder(self, path: str) -> bool:
        """Whether a folder itself lies at a physical path."""
        status = self.lstat(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def _refused_outright(self) -> bool:
        """Whether openat2 is refused even for the root itself: by a profile, then, not by permissions."""
        try:
            os.close(syscalls.openat2(self.fd, ".", os.O_PATH, resolve=_LOGICAL))
        except OSError:
            return True
        return False

    def _walk(self, path: str, flags: int, mode: int, follow: bool, links: int = _MOST_SYMLINKS) -> int:
        """`open` without openat2: component by component, none followed by the kernel."""
        if follow:
            path = self.physical(path)
        *folders, name = path.split("/") if path else [""]
        here = os.dup(self.fd)
        try:
            for folder in folders:
                below = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = below
            if follow and name and self._is_link(here, name):
                if not links:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(name, dir_fd=here)
                joined = target if target.startswith("/") else "/".join((*folders, target))
                return self._walk(self.physical(joined.lstrip("/")), flags, mode, follow=True, links=links - 1)
            return os.open(name or ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
        finally:
            os.close(here)

    @staticmethod
    def _is_link(directory: int, name: str) -> bool:
        try:
            return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False


class Following:
    """`Beneath.physical` for many paths at one moment: each folder on their ways is looked at once."""

    def __init__(self, host: Beneath) -> None:
        self._host = host
        self._known = {"": ""}
        self._absent: set[str] = set()
        self._links: dict[str, tuple[str, ...]] = {"": ()}

    def physical(self, path: str) -> str:
        """As `Beneath.physical`."""
        folder, _, name = path.strip("/").rpartition("/")
        above = self._folder(folder, _MOST_SYMLINKS)
        return f"{above}/{name}" if above else name

    def folder(self, path: str) -> str:
        """The physical path of the folder `path`, which may be a symlink to one."""
        return self._folder(path.strip("/"), _MOST_SYMLINKS)

    def links(self, path: str) -> tuple[str, ...]:
        """The symlinks on the way to the folder `path`, each by its physical path. `folder` has followed it before."""
        path = path.strip("/")
        found = self._links.get(path)
        if found is None:
            above, _, name = path.rpartition("/")
            found = self.links(above)
            here = self.physical(path)
            status = self._host.lstat(here) if name not in ("", ".", "..") else None
            if status is not None and stat.S_ISLNK(status.st_mode):
                target = self._host.readlink(here)
                found = (*found, here, *self.links(target if target.startswith("/") else f"{parent(here)}/{target}"))
            found = self._links[path] = tuple(dict.fromkeys(found))
        return found

    def _folder(self, logical: str, links: int) -> str:
        """The physical path of a folder that is reached by at most `links` symlinks."""
        found = self._known.get(logical)
        if found is None:
            found = self._known.get(above := parent(logical), "")
            for at in (logical,) if above in self._known else (*ancestors(logical), logical):
                if at not in self._known:
                    self._known[at] = self._child(found, at.rpartition("/")[2], links)
                found = self._known[at]
        return found

    def _child(self, above: str, name: str, links: int) -> str:
        if name in ("", "."):
            return above
        if name == "..":
            return parent(above)
        here = f"{above}/{name}" if above else name
        status = None if above in self._absent else self._host.lstat(here)
        if status is None:
            self._absent.add(here)
            return here
        if not stat.S_ISLNK(status.st_mode):
            return here
        if status.st_uid not in (0, os.geteuid()):
            # Whoever owns it could lead the root user anywhere, and change his mind in between.
            raise OSError(errno.EPERM, "a symlink on the way belongs to neither root nor us", here)
        if not links:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), here)
        target = self._host.readlink(here)
        return self._folder(target.strip("/") if target.startswith("/") else f"{above}/{target}".strip("/"), links - 1)
