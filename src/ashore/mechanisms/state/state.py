# SPDX-License-Identifier: Apache-2.0
"""The state folder of a host: opened beneath its root, locked by one ashore at a time."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ashore.errors import BusyError, UnchangedError, words_of
from ashore.mechanisms import durable, syscalls
from ashore.mechanisms.beneath import Beneath, Following
from ashore.mechanisms.descriptors import READ_FILE, READ_FOLDER, closing
from ashore.nouns.config import STATE_FOLDER
from ashore.nouns.files import ancestors, printable, shown

T = TypeVar("T")

_TRIES = 5
"""To lock a folder that others take away."""
FOLDERS = "folders"
"""A note of those that ashore made for itself (`ownfolders`)."""
_ASKING = 0.02
"""Seconds."""
_LIMIT = 1 << 30
_FOLDERS = ("generations", "content", "secrets", "stage")
_OF_ITS_OWN = ("lock", "salt", FOLDERS)
"""What is there before any change."""


def place(host: Beneath) -> str:
    """The physical path of the state folder, which may be a symlink to one.

    Raises:
        OSError: somebody else could change where it leads.
    """
    return host.physical_folder(STATE_FOLDER)


class State:
    """`var/lib/ashore` of a root. `fd` is None while nothing was ever written there."""

    def __init__(self, host: Beneath, refuse_lost: Callable[[str], None] = lambda _why: None) -> None:
        """`refuse_lost` is told why nothing of a state is there, and raises where there should be one."""
        self.host = host
        self._refuse_lost = refuse_lost
        self._fd: int | None = None
        self._prepared = False
        self.patience: Callable[[], bool] = lambda: False
        """Asked while another ashore holds the lock: whether to try once more."""

    def close(self) -> None:
        """Give the descriptor back; it is opened again when it is needed."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def fd(self) -> int | None:
        """The folder, if there is one.

        Raises:
            UnchangedError: it is not ours to look at, or a symlink on its way leads nowhere.
            ChangedError: it was there, and is not.
        """
        if self._fd is None:
            try:
                self._fd = self._open()
            except OSError as error:
                message = f"cannot read {shown(STATE_FOLDER)}"
                raise UnchangedError(message, cause=words_of(error), remedy="run as root") from error
        return self._fd

    def _open(self) -> int | None:
        try:
            opened = self.host.open(STATE_FOLDER, os.O_RDONLY | os.O_DIRECTORY, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            self._refuse_dangling()
            self._refuse_lost("it is missing")
            return None
        try:
            os.stat(_FOLDERS[0], dir_fd=opened, follow_symlinks=False)
        except FileNotFoundError:  # a folder to mount it on, or one that somebody made for it
            try:
                self._refuse_lost("nothing is in it")
            except BaseException:
                os.close(opened)
                raise
        return opened

    def _refuse_dangling(self) -> None:
        """A symlink to nothing is no sign of a fresh host: its target lies on a mount, mostly, and is there later."""
        following = Following(self.host)
        for path in (*ancestors(STATE_FOLDER), STATE_FOLDER):
            status = self.host.lstat(lies_at := following.physical(path))
            if status is None:
                return
            if stat.S_ISLNK(status.st_mode) and self.host.lstat(following.folder(path)) is None:
                target = printable(self.host.readlink(lies_at))
                raise UnchangedError(
                    f"ashore's state is not there: {shown(path)} is a symlink to {target}, where nothing is",
                    remedy="mount what that is on; or, if it is new, make the folder",
                )

    def prepare(self) -> int:
        """The folder, made if need be: 0700, and its own subfolders.

        Raises:
            UnchangedError: it cannot be made or written.
        """
        if self._prepared and self._fd is not None:
            return self._fd
        try:
            opened = self.fd
            if opened is None:
                opened = self._fd = self._make()
            for name in _FOLDERS:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=opened)
                    os.fsync(opened)  # before anything outside of it tells of a state
            self._prepared = True
            return opened
        except OSError as error:
            raise UnchangedError(
                f"cannot write ashore's state folder {shown(STATE_FOLDER)}",
                cause=words_of(error),
                remedy="run as root, on a root whose /var/lib can be written",
            ) from error

    def _make(self) -> int:
        path = place(self.host)
        missing = [folder for folder in (*ancestors(path), path) if self.host.lstat(folder) is None]
        for folder in missing:
            directory, name = self.host.at(folder)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755 if folder != path else 0o700, dir_fd=directory)
            os.fsync(directory)
        opened = self.host.open(path, os.O_RDONLY | os.O_DIRECTORY)
        if above := [folder for folder in missing if folder != path]:
            durable.replace(opened, FOLDERS, durable.seal(above))
        return opened

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the host's one lock. The kernel drops it with the process, so nothing can be left locked.

        Raises:
            BusyError: another ashore holds it, on the host or in a container that sees the same folder.
            UnchangedError: there can be no lock.
        """
        with closing(self._lock_file()) as descriptor:
            self.host.forget()  # until now another could replace any folder
            with contextlib.suppress(OSError):  # it tells who holds the lock, and is not what holds it
                os.ftruncate(descriptor, os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0))
            yield

    def _lock_file(self) -> int:
        """The lock file, locked. One that another took away meanwhile, with its folder, holds nobody."""
        tries = _TRIES
        while True:
            tries -= 1
            try:
                descriptor = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.prepare())
            except (OSError, UnchangedError) as error:
                if tries and self._is_gone():
                    continue
                if isinstance(error, UnchangedError):
                    raise
                raise _no_lock(error) from error
            with closing(descriptor):
                while not _lock(descriptor, tries=5):
                    if not self.patience():
                        raise _busy(descriptor)
                if not (tries and self._is_gone()):
                    return os.dup(descriptor)

    def _is_gone(self) -> bool:
        """Whether another has removed the folder that is open here; then the next look opens what is there now.

        Raises:
            UnchangedError: it cannot be looked at, or somebody else could change where it leads.
        """
        if self._fd is None:
            return False
        self.host.forget()
        try:
            there, ours = self.host.lstat(place(self.host)), os.fstat(self._fd)
        except OSError as error:
            raise _no_lock(error) from error
        if there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            return False
        self.close()
        return True

    def is_bare(self) -> bool:
        """Whether it is only made: no change was ever begun with it."""
        if self.fd is None or set(os.listdir(self.fd)) - {*_FOLDERS, *_OF_ITS_OWN}:
            return False
        return not any(os.listdir(f"/proc/self/fd/{self.fd}/{name}") for name in _FOLDERS)

    def purge(self) -> None:
        """Remove the state folder with all that is in it: ashore was never here. The lock is held."""
        self.sweep()
        directory, name = self.host.at(place(self.host))
        gone = f".{name}.gone"
        # Away in one step: half a state would look like a damaged one, and a symlink to nothing like an absent mount.
        if self.host.physical(STATE_FOLDER) != place(self.host):
            os.mkdir(gone, 0o700, dir_fd=directory)
            try:
                syscalls.exchange(directory, gone, directory, name)
            except OSError:  # not every file system can
                os.rmdir(gone, dir_fd=directory)
                os.rename(name, gone, src_dir_fd=directory, dst_dir_fd=directory)
                os.mkdir(name, 0o700, dir_fd=directory)
        else:
            os.rename(name, gone, src_dir_fd=directory, dst_dir_fd=directory)
        self._fd = None
        self.sweep()

    def sweep(self) -> None:
        """Remove what a `purge` that was killed had moved aside."""
        import shutil

        with contextlib.suppress(FileNotFoundError):
            directory, name = self.host.at(place(self.host))
            shutil.rmtree(f".{name}.gone", dir_fd=directory)

    def tidy(self) -> None:
        """Remove files that a killed run had begun to write. The lock is held."""
        for name in (".", "generations", "secrets"):
            with closing(self.folder(name)) as folder:
                for left in os.listdir(folder):
                    if left.startswith(".") and left.endswith(".new"):
                        with contextlib.suppress(OSError):  # it does no harm, and whoever writes next will tell
                            os.unlink(left, dir_fd=folder)

    def read(self, name: str, type_: type[T], limit: int = _LIMIT) -> T | None:
        """The value of a sealed file, None where there is none. Nothing is made by asking.

        Raises:
            ChangedError: it has more than `limit` bytes, or is not what ashore wrote.
        """
        if self.fd is None:
            return None
        try:
            data = durable.read_all(self.fd, name, limit)
        except FileNotFoundError:
            return None
        return durable.unseal(data, type_, name)

    def write(self, name: str, value: object) -> None:
        """Have the sealed file `name` hold `value`; None: there is none from then on."""
        base = self.prepare()
        if value is None:
            durable.remove(base, name)
        else:
            durable.replace(base, name, durable.seal(value))

    def at_rest(self, ask: Callable[[], bool]) -> bool:
        """What `ask` says while no other ashore is at work, False if one is: what looks unfinished then is not."""
        if self.fd is None:
            return ask()
        try:
            descriptor = os.open("lock", READ_FILE, dir_fd=self.fd)
        except OSError:
            return ask()
        with closing(descriptor):
            return _lock(descriptor, how=fcntl.LOCK_SH) and ask()  # beside others who only ask

    def folder(self, name: str) -> int:
        """One of the state's own folders."""
        return os.open(name, READ_FOLDER, dir_fd=self.prepare())


def _no_lock(error: OSError) -> UnchangedError:
    remedy = "put right what is named, then try again"
    return UnchangedError(f"cannot lock {shown(STATE_FOLDER)}", cause=words_of(error), remedy=remedy)


def _busy(descriptor: int) -> BusyError:
    holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
    return BusyError(
        "another ashore is at work on this host",
        cause=f"the lock was taken by process {holder}" if holder else "",
        remedy="wait for it to end, then try again",
    )


def _lock(descriptor: int, tries: int = 1, how: int = fcntl.LOCK_EX) -> bool:
    """Whether we have it. Several tries, since who only asks (`at_rest`) has it for a moment as well."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_ASKING)
    return False
