# SPDX-License-Identifier: Apache-2.0
"""``ashore push``, ``pull`` and ``copy``: an image, or an index with all its images, from one place to another."""

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ashore.acts.author.attached import Attached, Carried, UnreadableError, attached_to, nothing_beside, put
from ashore.errors import AshoreError, ElsewhereError, InputError, RegistryError
from ashore.mechanisms.images.streams import Told
from ashore.nouns.digest import Digest, short
from ashore.nouns.image import INDEXES, Descriptor, Index, Platform
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, ImageWriter, Progress, ReferrerWriter
from ashore.nouns.reference import ImageReference, Transport
from ashore.rules.images.documents import choose, parse_manifest_or_index

Mount = Callable[[Digest], bool]
"""Takes a blob over without moving it, where source and target are one registry."""


def copy(
    source: ImageReference,
    reader: ImageReader,
    target: ImageReference,
    writer: ImageWriter,
    *,
    progress: Progress,
    limits: Limits,
    platform: Platform | None = None,
    named: bool = True,
    carried: Carried = Carried.NONE,
    added: Sequence[Attached] = (),
) -> Digest:
    """Copy what `source` names; of an index, with `platform`, the one image. Blobs that are there stay.

    Without `named`, `target`'s name stays with what it points at. What refers to an image comes along as far
    as it is `carried`, and `added` with it: all of it is there before the name is.

    Raises:
        InputError: the source is malformed, or has no image for `platform`.
        RegistryError, VerificationError, UnchangedError: nothing is named in the target that is not whole.
    """
    top = reader.resolve()
    if platform is not None:
        top = _one(reader, source, top, platform, limits)
    elif top.media_type in INDEXES and target.transport is Transport.DOCKER_ARCHIVE:
        raise InputError(f"{source} is an index", cause="a docker-archive holds one image", remedy="add --platform")
    mount = _mount(source, target, writer)
    beside = _Beside(reader, writer, carried, added, progress, limits)
    return _Copy(str(source), beside, mount).tree(top, depth=0, named=named)


def _one(
    reader: ImageReader, source: ImageReference, top: Descriptor, platform: Platform, limits: Limits
) -> Descriptor:
    for _ in range(limits.index_depth + 1):
        document = parse_manifest_or_index(*reader.manifest(top.digest), f"{source}: {top.digest}", limits)
        if not isinstance(document, Index):
            return top
        top = choose(document, platform, str(source))
    raise InputError(f"{source}: indexes nested more than {limits.index_depth} deep")


def _mount(source: ImageReference, target: ImageReference, writer: ImageWriter) -> Mount | None:
    one = source.transport is target.transport is Transport.REGISTRY and source.place == target.place
    mount = getattr(writer, "mount", None)  # registries have it, layouts do not
    return (lambda digest: bool(mount(digest, source.repository))) if one and mount else None


class _Beside(msgspec.Struct, frozen=True):
    """What is copied beside images."""

    reader: ImageReader
    writer: ImageWriter
    carried: Carried
    added: Sequence[Attached]
    progress: Progress
    limits: Limits

    def of(self, subject: Digest) -> list[Attached]:
        """What refers to `subject`; nothing where the target takes none.

        Raises:
            InputError: all of it was asked for, there is some, and the target takes none.
            RegistryError: all of it was asked for, and the registry does not tell. Deltas alone are no reason.
        """
        takes = isinstance(self.writer, ReferrerWriter)
        if not takes and self.carried is not Carried.ALL:
            return []
        found = [attached for attached in self.added if attached.subject == subject]
        try:
            lost = None if self.carried is Carried.ALL else partial(self._without, subject)
            found = [*attached_to(self.reader, subject, self.carried, self.limits, lost), *found]
        except RegistryError as error:
            if self.carried is Carried.ALL:
                raise
            self.progress.say(f"{short(subject)}: copied without its deltas: {error}")
        if found and not takes:
            raise nothing_beside()
        return found

    def put(self, one: Attached) -> None:
        """Store it; a delta that cannot be read stays behind.

        Raises:
            RegistryError, VerificationError, UnchangedError: all of it was asked for, or the target does not take it.
        """
        try:
            put(one, self.writer)
        except UnreadableError as unreadable:
            if self.carried is Carried.ALL:
                raise unreadable.error from unreadable
            self._without(one.subject, one.descriptor, unreadable.error)

    def _without(self, subject: Digest, delta: Descriptor, error: AshoreError) -> None:
        self.progress.say(f"{short(subject)}: copied without its delta {delta.digest}: {error}")


class _Copy:
    """One copy under way: what is there already is asked once."""

    def __init__(self, source: str, beside: _Beside, mount: Mount | None) -> None:
        self._source, self._beside, self._mount = source, beside, mount
        self._reader, self._writer = beside.reader, beside.writer
        self._progress, self._limits = beside.progress, beside.limits
        self._done: set[Digest] = set()

    def tree(self, top: Descriptor, *, depth: int, named: bool) -> Digest:
        """Blobs first, then what names them, the index last."""
        media_type, data = self._reader.manifest(top.digest)
        document = parse_manifest_or_index(media_type, data, f"{self._source}: {top.digest}", self._limits)
        if not isinstance(document, Index):
            for descriptor in (document.config, *document.layers):
                self._blob(descriptor)
        elif depth >= self._limits.index_depth:
            raise InputError(f"{self._source}: indexes nested more than {self._limits.index_depth} deep")
        else:
            for entry in document.manifests:
                if entry.digest not in self._done:
                    self.tree(entry, depth=depth + 1, named=False)
                    self._done.add(entry.digest)
        if attached := self._beside.of(top.digest):
            self._writer.put_manifest(media_type, data, named=False)
            for one in attached:
                self._beside.put(one)
        return self._writer.put_manifest(media_type, data, named=named)

    def _blob(self, descriptor: Descriptor) -> None:
        if descriptor.digest in self._done:
            return
        name = short(descriptor.digest)
        if self._writer.has_blob(descriptor):
            self._progress.say(f"{name}: is there already")
        elif self._mount and self._mount(descriptor.digest):
            self._progress.say(f"{name}: taken over from the other repository")
        else:
            while not self._moved(descriptor, name):
                pass
        self._done.add(descriptor.digest)

    def _moved(self, descriptor: Descriptor, name: str) -> bool:
        """Move a blob; False if it came wrong and is to be asked for once more, elsewhere."""
        self._progress.begin(name, descriptor.size)
        stream = Told(self._reader.blob(descriptor), partial(self._progress.advance, name))
        try:
            self._writer.put_blob(descriptor, stream)
        except ElsewhereError:
            return False
        finally:
            stream.close()
            self._progress.end(name)
        return True
