# SPDX-License-Identifier: Apache-2.0
"""``[[include]]``: a file or folder is lifted out of another image while a bundle is built."""

import os
from collections.abc import Mapping
from typing import BinaryIO

from ashore.acts.fetch import fetch_tree
from ashore.acts.obtain import POLICY_PATH
from ashore.errors import InputError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.newfile import write_fault
from ashore.mechanisms.sources import Source
from ashore.nouns.bundle import Include
from ashore.nouns.digest import Digest
from ashore.nouns.files import parent, shown
from ashore.nouns.image import VerifiedImage
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, Progress
from ashore.rules.imagetree import ROOT
from ashore.rules.verify import Policy, parse_policy


def load_policy(root: str, limits: Limits) -> Policy | None:
    """The policy.json below `root`, if there is one.

    Raises:
        InputError: it is malformed.
    """
    with Beneath(root) as host:
        try:
            data = host.read_bytes(POLICY_PATH, limits.manifest)
        except FileNotFoundError:
            return None
    return parse_policy(data, POLICY_PATH)


def lift(
    image: VerifiedImage, reader: ImageReader, include: Include, place: str, progress: Progress, limits: Limits
) -> Mapping[str, Source]:
    """What `include` names, by path below ``root/``; contents are written into the new folder `place`.

    Raises:
        InputError: the image has no such path.
    """
    path, to = include.path.strip("/"), include.to.strip("/")
    sink = _FolderSink(place)
    tree = fetch_tree(image, reader, sink, prefix=parent(path), only=path, progress=progress, limits=limits)
    top = f"{ROOT}/{path.rpartition('/')[2]}"
    brought = {}
    for name, entry in tree.items():
        if name == top or name.startswith(f"{top}/"):
            group = f"{place}:{entry.link}" if entry.link else ""
            brought[to + name.removeprefix(top)] = Source(
                entry=entry, file=sink.files.get(entry.digest, ""), group=group
            )
    if not brought:
        raise InputError(f"{include.image} has no {shown(path)}", remedy="write the physical path, without symlinks")
    return brought


class _FolderSink:
    """`ports.ContentSink` into numbered files of one folder; `files` is where a digest lies."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.files: dict[Digest, str] = {}
        self._count = 0
        with write_fault(folder):
            os.mkdir(folder)

    def create(self, path: str, size: int) -> "_Content":
        self._count += 1
        return _Content(os.path.join(self._folder, str(self._count)), self.files)

    def discard(self, path: str) -> None:
        """Kept: the folder is temporary, and another path may have the same content."""


class _Content:
    def __init__(self, path: str, files: dict[Digest, str]) -> None:
        self._path, self._files = path, files
        with write_fault(path):
            self._file: BinaryIO = open(path, "xb")  # noqa: SIM115 - closed by commit or abort

    def write(self, data: bytes | memoryview, /) -> None:
        with write_fault(self._path):
            self._file.write(data)

    def commit(self, digest: Digest, size: int) -> None:
        with write_fault(self._path):
            self._file.close()
        self._files[digest] = self._path

    def abort(self) -> None:
        self._file.close()
