# SPDX-License-Identifier: Apache-2.0
"""One way to images, wherever they lie: the transport of a reference chooses what reads or writes it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from ashore.errors import AshoreError, UsageError
from ashore.nouns.files import printable
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, ImageWriter, Progress
from ashore.nouns.reference import ImageReference, Transport

if TYPE_CHECKING:
    from ashore.mechanisms.registry import RegistrySettings, Repository

SettingsFactory = Callable[[], "RegistrySettings"]
"""Makes the registry's settings: what it reads (files, environment) is only read if a registry is asked."""


def resolved(reference: ImageReference) -> ImageReference:
    """The reference as policy.json judges it: a path without symlinks and ``..``, so that none leads past a rule.

    Source: containers-policy.json(5), "oci:".
    """
    if reference.transport is Transport.REGISTRY:
        return reference
    return msgspec.structs.replace(reference, place=os.path.realpath(reference.place))


def open_reader(
    reference: ImageReference, *, settings_factory: SettingsFactory, progress: Progress, limits: Limits
) -> ImageReader:
    """Where to read `reference` from.

    Raises:
        InputError: there is no such layout or archive, or it is malformed.
    """
    if reference.transport is Transport.REGISTRY:
        return _repository(reference, settings_factory, progress, push=False)
    from ashore.mechanisms.images.blobfiles import ArchiveFiles, FolderFiles
    from ashore.mechanisms.images.layout import LayoutReader

    if reference.transport is Transport.LAYOUT:
        return LayoutReader(FolderFiles(reference.place), reference, limits)
    files = ArchiveFiles(reference.place, limits)
    if reference.transport is Transport.ARCHIVE:
        return LayoutReader(files, reference, limits)
    from ashore.mechanisms.images.dockerarchive import DockerArchiveReader

    return DockerArchiveReader(files, reference, limits)


@contextlib.contextmanager
def open_writer(
    reference: ImageReference, *, settings_factory: SettingsFactory, progress: Progress, limits: Limits
) -> Iterator[ImageWriter]:
    """Where to write what `reference` shall name. An archive that was not finished is gone afterwards."""
    if reference.digest:
        raise UsageError(f"cannot write {reference}: a digest is what comes out", remedy="name it by a tag")
    if reference.transport is Transport.REGISTRY:
        repository = _repository(reference, settings_factory, progress, push=True)
        try:
            yield repository
        finally:
            repository.close()
        return
    if reference.transport is Transport.LAYOUT:
        from ashore.mechanisms.images.layout import LayoutWriter

        yield LayoutWriter(reference.place, reference.tag, limits)
        return
    with _archive_writer(reference, limits) as writer:
        yield writer


@contextlib.contextmanager
def _archive_writer(reference: ImageReference, limits: Limits) -> Iterator[ImageWriter]:
    from ashore.mechanisms.images.archive import ArchiveWriter, TarFileWriter

    if reference.transport is Transport.ARCHIVE:
        _check_others(reference, limits)
        with TarFileWriter(reference.place) as file:
            yield ArchiveWriter(file, reference.tag)
        return
    from ashore.mechanisms.images.dockerarchive import DockerArchiveWriter, loadable

    name = loadable(reference.tag)
    with TarFileWriter(reference.place) as file:
        yield DockerArchiveWriter(file, name, limits)


def _check_others(reference: ImageReference, limits: Limits) -> None:
    """An archive is written anew, which is the end of what else it has.

    Raises:
        UsageError: there is one, with an image of another name.
    """
    if not os.path.exists(reference.place):
        return
    from ashore.mechanisms.images.blobfiles import ArchiveFiles
    from ashore.mechanisms.images.layout import tags_in

    try:
        others = tags_in(ArchiveFiles(reference.place, limits), limits) - {reference.tag}
    except AshoreError:
        return  # it is no such archive
    if others:
        raise UsageError(
            f"{reference.place} has other images, which would be lost",
            cause=f"it has {printable(', '.join(sorted(others))[:500])}",
            remedy="name another file, or remove this one; oci:DIR takes several images",
        )


def _repository(
    reference: ImageReference, settings: SettingsFactory, progress: Progress, *, push: bool
) -> "Repository":
    from ashore.mechanisms.registry import open_repository

    return open_repository(reference, settings(), push=push, progress=_Says(progress))


class _Says:
    """What a repository may say: retries. Amounts are counted by whoever moves the bytes, once."""

    def __init__(self, progress: Progress) -> None:
        self.say = progress.say

    def begin(self, name: str, total: int) -> None: ...
    def advance(self, name: str, amount: int) -> None: ...
    def end(self, name: str) -> None: ...
