# SPDX-License-Identifier: Apache-2.0
"""Where a transaction keeps what is on its way in or out: one folder on each mount that it touches.

A path and its staging folder share a mount, told by mount id and device, so that every swap is a rename.
Names in a staging folder: ``f<n>`` came with an image, ``s<n>`` was made for a step, ``c<hex>`` was moved
here out of the content store and goes back there if it is not placed, ``n/`` holds new folders of the host,
``u<inode>`` was taken back out of one.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable

import msgspec

from ashore.mechanisms.attributes import passes_on, stat_of
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.mechanisms.stage.loose import Loose, LooseFiles
from ashore.mechanisms.stage.mounts import Key, key, top_of
from ashore.mechanisms.stage.newfolders import TREE, NewFolders
from ashore.mechanisms.stage.sync import FEW, Writeback
from ashore.mechanisms.state.content import ContentStore, hash_file
from ashore.mechanisms.state.state import State, place
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Stat, parent
from ashore.nouns.journal import OWN_FOLDER, Area

_FROM_STORE = re.compile(r"c([0-9a-f]{64})")
_EMPTY = re.compile(r"d\d+")
"""Folders that have nothing in them before they have their place."""


def beside_state(host: Beneath, transaction: str) -> Area:
    """The staging folder on the mount of the state, which every transaction has."""
    return Area(f"{place(host)}/stage/{transaction}")


class Staging:
    """A transaction's staging folders. The one beside the state is in the journal already.

    `announce` makes the others durable in the journal before they are made.
    """

    def __init__(
        self, host: Beneath, state: State, transaction: str, announce: Callable[[tuple[Area, ...]], None]
    ) -> None:
        self.host = host
        self.transaction = transaction
        self.areas = [beside_state(host, transaction)]
        """The first is made at once: as long as it is there, a journal that is gone is missed."""
        self._state_key = key(state.prepare())
        self._announce = announce
        self._descriptors: list[int] = []
        self._plain: list[bool] = []
        self.writeback = Writeback()
        self._by_key: dict[Key, int] = {self._state_key: self._create(0)}
        self._by_folder: dict[str, int] = {}
        self._standing = {"": ""}
        self.new = NewFolders(self.fd, self.standing)
        self.settled: dict[str, Stat] = {}
        """How carried files lie, by path: a folder's rename changes nothing of what is in it."""
        self.loose = LooseFiles()
        self._lent: dict[Digest, Loose] = {}
        self._count = 0

    def area_for(self, path: str) -> int:
        """The index of the staging folder on the mount of `path`, a physical path; made if need be."""
        folder = parent(path)
        known = self._by_folder.get(folder)
        if known is not None:
            return known
        standing = self.standing(folder)
        index = self._by_folder.get(standing)
        if index is None:
            mount = key(self.host.folder(standing))
            index = self._by_key.get(mount)
            if index is None:
                index = self._by_key[mount] = self._make(top_of(self.host, standing))
        self._by_folder[standing] = self._by_folder[folder] = index
        return index

    def standing(self, folder: str) -> str:
        """A physical folder, or the nearest above it that is there: until the swap nobody makes one."""
        found = self._standing.get(folder)
        if found is None:
            above = self.standing(parent(folder))
            found = folder if above == parent(folder) and self.host.is_folder(folder) else above
            self._standing[folder] = found
        return found

    def own_area(self) -> int:
        """The staging folder beside the state."""
        return self._by_key[self._state_key]

    def fd(self, area: int) -> int:
        return self._descriptors[area]

    def is_own(self, area: int) -> bool:
        """Whether the area shares its mount with the content store."""
        return self._by_key.get(self._state_key) == area

    def name(self, kind: str) -> str:
        """A fresh name."""
        self._count += 1
        return f"{kind}{self._count}"

    def withdraw(self, digest: Digest, loose: Loose) -> None:
        """It is not needed after all."""
        if self.loose.release(digest, loose):
            os.unlink(loose.name, dir_fd=self.fd(loose.area))

    def claim(self, digest: Digest, area: int, path: str) -> Loose | None:
        """Take a loose file of this content in this area, at best the one that came for `path`: it is that path's."""
        loose = self.loose.claim(digest, area, path)
        if loose is not None and loose.carried and loose.name != f"{TREE}/{path}":
            # It would come to another path's place with that one's folder.
            name, folder = self.name("f"), self.fd(area)
            os.rename(loose.name, name, src_dir_fd=folder, dst_dir_fd=folder)
            loose = msgspec.structs.replace(loose, name=name, stat=None)
        return loose

    def is_as(self, loose: Loose, entry: Entry) -> bool:
        """Whether a loose file has its final owner, mode and attributes already, so that nothing is left to do."""
        return (
            self._plain[loose.area]
            and not entry.xattrs
            and (loose.mode, loose.uid, loose.gid) == (entry.mode, entry.uid, entry.gid)
        )

    def new_folder(self, area: int, name: str, entry: Entry) -> int | None:
        """The inode's number of a folder made here, if it has its final owner, mode and attributes already."""
        status = os.stat(name, dir_fd=self.fd(area), follow_symlinks=False)
        made = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        right = self._plain[area] and not entry.xattrs and made == (entry.mode, entry.uid, entry.gid)
        return status.st_ino if right else None

    def settle(self, path: str, area: int, name: str) -> None:
        """What comes to `path` with its folder stays as it is now."""
        self.settled[path] = stat_of(os.stat(name, dir_fd=self.fd(area), follow_symlinks=False))

    def open_loose(self, digest: Digest) -> int | None:
        """A descriptor of a loose file of this content, in any area."""
        loose = self.loose.of(digest) or self._lent.get(digest)
        return os.open(loose.name, READ_FILE, dir_fd=self.fd(loose.area)) if loose else None

    def lies_ready(self, digest: Digest) -> bool:
        """Whether this content needs no more room."""
        return self.loose.of(digest) is not None

    def lend(self, digest: Digest, loose: Loose) -> None:
        """A step has this content now: steps with the same may copy it, until the swap."""
        self._lent[digest] = loose

    def begin_sync(self) -> None:
        """What was staged so far is on its way to the disk from now on; `end_sync` waits for it."""
        if len(self.loose) > FEW:
            self.writeback.systems(self._descriptors)

    def end_sync(self) -> None:
        """
        Raises:
            OSError: something could not be written.
        """
        self.writeback.end()

    def close(self) -> None:
        """The transaction is over; what is left lies where it lies."""
        with contextlib.suppress(OSError):
            self.end_sync()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _make(self, top: str) -> int:
        # The topmost folder of the mount: at its root nobody else's folders lie in the way.
        base = f"{top}/{OWN_FOLDER}" if top else OWN_FOLDER
        self.areas.append(Area(f"{base}/{self.transaction}"))
        self._announce(tuple(self.areas))
        return self._create(len(self.areas) - 1)

    def _create(self, index: int) -> int:
        path = self.areas[index].path
        for folder in (parent(path), path):
            directory, name = self.host.at(folder)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=directory)
        self._descriptors.append(self.host.open(path, os.O_RDONLY | os.O_DIRECTORY))
        self._plain.append(not passes_on(self._descriptors[-1]))
        return index


def sweep(host: Beneath, area: Area, store: ContentStore) -> None:
    """Empty and remove a staging folder; what came out of the content store goes back there."""
    try:
        folder = host.open(area.path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        _remove_if_empty(host, parent(area.path))
        return
    with closing(folder):
        names = os.listdir(folder)
        batch = sum(1 for name in names if _FROM_STORE.fullmatch(name)) > FEW
        for name in names:
            if name == TREE:
                import shutil

                shutil.rmtree(name, dir_fd=folder)
                continue
            if _EMPTY.fullmatch(name):
                os.rmdir(name, dir_fd=folder)
                continue
            match = _FROM_STORE.fullmatch(name)
            if not (match and _give_back(folder, name, Digest("sha256:" + match[1]), store, sync=not batch)):
                os.unlink(name, dir_fd=folder)
        if batch:
            store.sync()
    host.forget()
    directory, name = host.at(area.path)
    os.rmdir(name, dir_fd=directory)
    os.fsync(directory)
    _remove_if_empty(host, parent(area.path))


def _give_back(folder: int, name: str, digest: Digest, store: ContentStore, *, sync: bool) -> bool:
    # After a swap the name holds what was displaced, of any kind: only the content tells.
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return False
    with closing(os.open(name, READ_FILE | os.O_NONBLOCK, dir_fd=folder)) as descriptor:
        return hash_file(descriptor)[0] == digest and store.take(digest, folder, name, sync=sync)


def _remove_if_empty(host: Beneath, path: str) -> None:
    if path.rpartition("/")[2] != OWN_FOLDER:
        return
    host.forget()
    try:
        directory, name = host.at(path)
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return  # gone already, or somebody put something there
        raise
    os.fsync(directory)  # before the journal goes: afterwards nobody knows of this folder
