# SPDX-License-Identifier: Apache-2.0
"""``[[include]]``: a file or folder is lifted out of another image, or a folder, while a bundle is built."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from ashore.acts.author.buildtools import BuildTools
from ashore.acts.fetch.fetch import fetch_tree, resolve_image
from ashore.errors import InputError, Issue
from ashore.mechanisms.images.sources import Source, scan_at
from ashore.mechanisms.newfile import write_fault
from ashore.nouns.bundle import Include
from ashore.nouns.digest import Digest
from ashore.nouns.files import parent, printable, shown
from ashore.nouns.image import Platform, VerifiedImage
from ashore.nouns.ports import ImageReader, Progress
from ashore.nouns.reference import Transport
from ashore.nouns.reference import parse as parse_reference
from ashore.rules.images.imagetree import ROOT
from ashore.rules.images.packing import DEFAULT_PLATFORM

_ARCH = "{arch}"
"""In a folder's path: the platform's architecture, by Go's name of it."""


def unnamed(
    includes: Sequence[Include], folders: Mapping[str, str], platforms: Sequence[Platform]
) -> tuple[Issue, ...]:
    """What is wrong with the folders that a build was given for what the bundle includes."""
    wanted = dict.fromkeys(include.folder for include in includes if include.folder)
    return tuple(_unnamed(wanted, folders, platforms or (DEFAULT_PLATFORM,)))


def _unnamed(wanted: Mapping[str, None], folders: Mapping[str, str], platforms: Sequence[Platform]) -> Iterator[Issue]:
    for name in wanted:
        if name not in folders:
            yield Issue(where=name, message="no folder is given", remedy=f"add --folder {name}=DIR")
            continue
        places = {_place(folders[name], platform) for platform in platforms}
        yield from (
            Issue(where=name, message=f"{printable(place)} is not a folder")
            for place in sorted(places)
            if not os.path.isdir(place)
        )
        if len(places) < len(platforms):
            remedy = f"write {_ARCH} where their paths differ, or build each --platform by itself"
            yield Issue(where=name, message="is for one platform", remedy=remedy)
    for name in folders.keys() - wanted.keys():
        yield Issue(where=name, message="no [[include]] of the bundle takes from it")


def included(include: Include, platform: Platform, tools: BuildTools, place: str) -> Mapping[str, Source]:
    """What `include` brings, by path below ``root/``; what comes out of an image is written into the new `place`.

    Raises:
        InputError: it is not there.
    """
    if include.folder:
        return _from_folder(include, _place(tools.folders[include.folder], platform), tools.progress)
    reference = parse_reference(include.image)
    try:
        reader = tools.open_image(reference)
        image = resolve_image(reader, reference, platform, tools.limits)
    except InputError as error:
        asked = reference.place
        if reference.transport is Transport.REGISTRY or os.path.isabs(asked) or os.path.exists(asked):
            raise
        # Somebody may well mean the bundle's folder.
        message = f"there is no {printable(os.path.abspath(asked))}"
        cause = f"{include.image} counts from where the build runs"
        raise InputError(message, cause=cause, remedy=error.remedy) from error
    verified = tools.admitted(image, reference, reader)
    tools.progress.say(f"including {include.path} of {reference}, {image.digest}")
    return _lifted(verified, reader, include, place, tools)


def _place(folder: str, platform: Platform) -> str:
    return folder.replace(_ARCH, platform.architecture)


def _from_folder(include: Include, folder: str, progress: Progress) -> Mapping[str, Source]:
    # What is named may be a symlink of this machine; what lies below it is brought as it is.
    named, to = os.path.join(folder, include.path.strip("/")), include.to.strip("/")
    if not os.path.exists(named):
        remedy = f"see what --folder {include.folder}= names"
        raise InputError(f"{printable(folder)} has no {shown(include.path.strip('/'))}", remedy=remedy)
    progress.say(f"including {printable(named)}")
    brought = scan_at(os.path.realpath(named))
    return {f"{to}/{path}" if path else to: source for path, source in brought.items()}


def _lifted(
    image: VerifiedImage, reader: ImageReader, include: Include, place: str, tools: BuildTools
) -> Mapping[str, Source]:
    """What `include` names, by path below ``root/``; contents are written into the new folder `place`.

    Raises:
        InputError: the image has no such path.
    """
    path, to = include.path.strip("/"), include.to.strip("/")
    sink = _FolderSink(place)
    tree = fetch_tree(image, reader, sink, prefix=parent(path), only=path, progress=tools.progress, limits=tools.limits)
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
