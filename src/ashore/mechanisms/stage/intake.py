# SPDX-License-Identifier: Apache-2.0
"""An image's files on their way into the staging folders, each straight onto the mount where it will lie."""

import os
import stat
from collections.abc import Callable, Iterable

from ashore.errors import UnchangedError
from ashore.mechanisms import durable
from ashore.mechanisms.attributes import stat_of
from ashore.mechanisms.stage.loose import Loose
from ashore.mechanisms.stage.room import unwritable
from ashore.mechanisms.stage.staging import Staging
from ashore.mechanisms.stage.sync import LARGE
from ashore.nouns.digest import Digest
from ashore.nouns.files import parent, shown

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StagedFile:
    """A file of an image on its way into a staging folder (ports.ContentFile)."""

    __slots__ = ("_area", "_descriptor", "_folder", "_name", "_path", "_sink")

    def __init__(self, sink: "StagingSink", path: str, area: int, name: str | None) -> None:
        self._sink, self._path, self._area = sink, path, area
        self._folder = sink.staging.fd(area)
        try:
            self._name = name or sink.staging.name("f")
            # Nobody else enters a staging folder: with the mode that most files have, few must be changed later.
            self._descriptor = os.open(self._name, _NEW, 0o644, dir_fd=self._folder)
        except FileExistsError:  # a lower layer had a folder of this name
            self._name = sink.staging.name("f")
            self._descriptor = os.open(self._name, _NEW, 0o644, dir_fd=self._folder)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, data: bytes | memoryview, /) -> None:
        try:
            durable.write_all(self._descriptor, data)
        except OSError as error:
            raise self._unwritable(error) from error

    def commit(self, digest: Digest, size: int) -> None:
        status = os.fstat(self._descriptor)
        if size >= LARGE:
            self._sink.staging.writeback.file(self._descriptor)
        os.close(self._descriptor)
        mode = stat.S_IMODE(status.st_mode)
        loose = Loose(self._area, self._name, status.st_ino, mode, status.st_uid, status.st_gid, stat_of(status))
        self._sink.placed(self._path, digest, loose)

    def abort(self) -> None:
        os.close(self._descriptor)
        os.unlink(self._name, dir_fd=self._folder)

    def _unwritable(self, error: OSError) -> UnchangedError:
        return unwritable(self._sink.staging, error, shown(self._path.removeprefix("root/")), [self._area])


class StagingSink:
    """Puts an image's files straight onto the mounts where they will lie (ports.ContentSink)."""

    def __init__(self, staging: Staging, to_host: Callable[[str], str | None]) -> None:
        """`to_host` maps a path of the bundle's tree to the physical path it is for, None for none."""
        self.staging = staging
        self._to_host = to_host
        self._placed: dict[str, tuple[Digest, Loose]] = {}
        self._places: dict[str, tuple[int, str]] = {}

    def create(self, path: str, size: int) -> StagedFile:
        folder, _, last = path.rpartition("/")
        place = self._places.get(folder)
        if place is None:
            place = self._places[folder] = self._place(path)
        area, above = place
        return StagedFile(self, path, area, f"{above}/{last}" if above else None)

    def _place(self, path: str) -> tuple[int, str]:
        """The area for a path and its neighbours, and the new folder in it that they lie in, if it is one."""
        target = self._to_host(path)
        if target is None:
            return self.staging.own_area(), ""
        area = self.staging.area_for(target)
        return area, parent(self.staging.new.name_for(area, target) or "")

    def placed(self, path: str, digest: Digest, loose: Loose) -> None:
        """A file is whole."""
        self._placed[path] = (digest, loose)
        self.staging.loose.offer(digest, loose)

    def discard(self, path: str) -> None:
        if path in self._placed:
            self.staging.withdraw(*self._placed.pop(path))

    def taken(self) -> Iterable[tuple[Digest, Loose]]:
        """What is whole and no step has, each once: it is the caller's from now on."""
        placed, self._placed = self._placed, {}
        return [(digest, loose) for digest, loose in placed.values() if self.staging.loose.release(digest, loose)]
