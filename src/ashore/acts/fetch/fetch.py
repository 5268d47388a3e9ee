# SPDX-License-Identifier: Apache-2.0
"""An image's reference becomes an `Image`, and its layers become files on their way to a place."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from ashore.errors import AshoreError, ElsewhereError, InputError, VerificationError
from ashore.mechanisms.images.compression import open_layer
from ashore.mechanisms.images.readahead import ReadAhead
from ashore.mechanisms.images.streams import Readable, Told, distrusted, pipe, read_all
from ashore.mechanisms.images.tar import TarReader
from ashore.nouns.digest import Digest, of_hash
from ashore.nouns.files import Entry, shown
from ashore.nouns.image import Descriptor, Image, Index, Platform, VerifiedImage
from ashore.nouns.layer import Member
from ashore.nouns.limits import MIB, Limits
from ashore.nouns.ports import ContentFile, ContentSink, ImageReader, Progress, RangedReader
from ashore.nouns.reference import ImageReference
from ashore.rules.images.documents import carried_bundle, check_platform, choose, parse_config, parse_manifest_or_index
from ashore.rules.images.imagetree import ImageTree, Lost

_WORTH_THREADS = MIB  # a smaller layer is read before a thread has started


def resolve_image(
    reader: ImageReader,
    reference: ImageReference,
    platform: Platform,
    limits: Limits,
    found: Descriptor | None = None,
) -> Image:
    """What `reference` names now, pinned: after this nothing asks for a tag again. `found`: it was asked before.

    Raises:
        InputError: a document is malformed, or there is no image for `platform`.
        RegistryError, VerificationError: as the reader has it.
    """
    top = found or (reader.resolve_whole() if isinstance(reader, RangedReader) else reader.resolve())
    if reference.digest and top.digest != reference.digest:
        raise VerificationError(f"{reference} was asked for", cause=f"{top.digest} came")
    chosen, named = top, top
    seen: tuple[Digest, ...] = (top.digest,)
    for _ in range(limits.index_depth + 1):
        where = f"{reference}: {chosen.digest}"
        media_type, data = reader.manifest(chosen.digest)
        if chosen is not top and media_type != chosen.media_type:
            raise InputError(f"{where} is {media_type!r}", cause=f"the index says {chosen.media_type!r}")
        document = parse_manifest_or_index(media_type, data, where, limits)
        if not isinstance(document, Index):
            data = _small(reader, document.config, f"{where}: its config", limits)
            config = parse_config(data, document, f"{where}: its config", limits)
            check_platform(config, platform, str(reference))
            return Image(
                reference=str(reference),
                digest=named.digest,
                manifest_digest=chosen.digest,
                manifest=document,
                config=config,
                named=seen,
            )
        if carried := carried_bundle(document):
            named = carried  # However it came, by a registry or within an installer image, it is recorded as itself.
        chosen = choose(document, platform, str(reference))
        if chosen.digest in seen:
            raise InputError(f"{reference}: an index names itself")
        seen = (*seen, chosen.digest)
    raise InputError(f"{reference}: indexes nested more than {limits.index_depth} deep")


def carried_digest(reader: ImageReader, top: Descriptor, where: str, limits: Limits) -> Digest:
    """The digest that an install of what the index `top` names would record: of an installer image, its bundle's."""
    document = parse_manifest_or_index(*reader.manifest(top.digest), f"{where}: {top.digest}", limits)
    carried = carried_bundle(document) if isinstance(document, Index) else None
    return (carried or top).digest


def fetch_tree(
    image: VerifiedImage,
    reader: ImageReader,
    sink: ContentSink,
    *,
    prefix: str,
    progress: Progress,
    limits: Limits,
    only: str = "",
) -> Mapping[str, Entry]:
    """Stream the layers, once and in order, put the contents below `prefix` into `sink`, and return the tree.

    Paths are ``bundle.toml`` and ``root/...``; where `prefix` is no bundle's folder, ``root/...`` alone.
    `Entry.link` is such a path as well. With `only`, a path of the image, what lies beside that path may be
    there or not, and what cannot be placed is passed over there. When this returns, or raises, no thread is left.
    If a layer comes wrong from one of several places, all of it is fetched anew without that place.

    Raises:
        InputError: a layer is malformed, hostile or over a limit; or, without `only`, there is nothing below `prefix`.
        VerificationError: a blob or layer is not what manifest and config name.
        RegistryError: as the reader has it.
    """
    while True:
        kept = _Kept(sink)
        try:
            return _fetch_tree(image, _Layers(image.image, reader, progress, limits), kept, prefix, only, limits)
        except ElsewhereError as error:
            progress.say(f"{error.message}; the image is fetched anew from elsewhere")
            kept.undo()


def _fetch_tree(
    image: VerifiedImage, layers: "_Layers", sink: "_Kept", prefix: str, only: str, limits: Limits
) -> Mapping[str, Entry]:
    tree = ImageTree(prefix, limits, only)
    try:
        for number in range(len(image.image.manifest.layers)):
            layers.begin(number)
            layers.begin(number + 1)  # it is on its way while this one is unpacked
            tree.begin_layer(layers.where(number))
            layers.read(number, partial(_take, tree=tree, sink=sink))
    finally:
        layers.close()
    entries, lost = tree.finish()
    for missing in lost:
        layers.read(missing.layer, partial(_take_again, missing=missing, sink=sink))
    if not entries and not only:
        raise InputError(
            f"{image.image.reference} carries no bundle",
            cause=f"it has nothing below {shown(prefix)}",
            remedy="COPY the bundle's folder to /ashore/, or name the image's tree with --root-in-image",
        )
    return entries


class _Kept:
    """A sink (`ports.ContentSink`), and the paths whose contents it keeps."""

    def __init__(self, sink: ContentSink) -> None:
        self._sink = sink
        self.create: Callable[[str, int], ContentFile] = sink.create
        self.paths: set[str] = set()

    def discard(self, path: str) -> None:
        self.paths.discard(path)
        self._sink.discard(path)

    def undo(self) -> None:
        """Nothing that was kept is needed."""
        while self.paths:
            self._sink.discard(self.paths.pop())


class _Layers:
    """The layers of one image, which share its limits."""

    def __init__(self, image: Image, reader: ImageReader, progress: Progress, limits: Limits) -> None:
        self._image, self._reader, self._progress, self._limits = image, reader, progress, limits
        self._begun: dict[int, Readable] = {}
        self._raw: dict[int, Readable] = {}
        """As the reader gave them."""

    def where(self, number: int) -> str:
        return f"{self._image.reference} layer {number + 1}"

    def begin(self, number: int) -> None:
        """Have a large layer fetched from now on, if there is one of that number; what is wrong, `read` tells."""
        layers = self._image.manifest.layers
        if number < len(layers) and number not in self._begun and layers[number].size >= _WORTH_THREADS:
            with contextlib.suppress(AshoreError):
                self._begun[number] = ReadAhead(self._open(number))

    def close(self) -> None:
        """Forget what was begun and not read."""
        while self._begun:
            number, source = self._begun.popitem()
            source.close()
            self._progress.end(self._name(number))

    def _name(self, number: int) -> str:
        return f"layer {number + 1} of {len(self._image.manifest.layers)}"

    def _open(self, number: int) -> Readable:
        descriptor, name = self._image.manifest.layers[number], self._name(number)
        self._raw[number] = raw = self._reader.blob(descriptor)
        source = Told(raw, partial(self._progress.advance, name))
        self._progress.begin(name, descriptor.size)
        return source

    def read(self, number: int, take: Callable[[TarReader], object]) -> None:
        """Let `take` read a layer's members, and read on until the digests are known to be right."""
        descriptor, where = self._image.manifest.layers[number], self.where(number)
        through = ReadAhead if descriptor.size >= _WORTH_THREADS else None
        source = self._begun.pop(number, None) or self._open(number)
        try:
            diff_id = self._image.config.rootfs.diff_ids[number]
            source = layer = open_layer(
                source, descriptor.media_type, self._limits, diff_id, name=where, through=through
            )
            members = TarReader(layer, where, self._limits)
            take(members)
            while members.next() is not None:
                pass
        except VerificationError as error:
            raise _at(where, error) from error
        except InputError as error:
            source.close()
            if distrusted(self._raw[number]):
                raise ElsewhereError(f"{where} cannot be read", cause=str(error)) from error
            self._blame(descriptor, where)
            raise
        finally:
            source.close()
            self._progress.end(self._name(number))
        self._limits = msgspec.structs.replace(
            self._limits,
            image_bytes=self._limits.image_bytes - layer.count,
            entries=self._limits.entries - members.count,
        )

    def _blame(self, descriptor: Descriptor, where: str) -> None:
        """A layer that cannot be read is no author's fault where its bytes are not those that were published.

        Raises:
            VerificationError: they are not.
        """
        if descriptor.size > self._limits.blamed:
            return
        try:
            with contextlib.closing(self._reader.blob(descriptor)) as again:
                pipe(again, len)
        except VerificationError as error:
            raise _at(where, error) from error
        except AshoreError:
            return  # Whatever is wrong with the second look, the first one saw enough.


def _take(members: TarReader, *, tree: ImageTree, sink: _Kept) -> None:
    for entry in members:
        file = tree.add(entry)
        for gone in tree.dropped():
            sink.discard(gone)
        if file is not None:
            file.content(_copy(members, sink, file.owner, entry.size), entry.size)


def _take_again(members: TarReader, *, missing: Lost, sink: _Kept) -> None:
    """A content that was given up under one name is still needed under another one."""
    found = False
    for entry in members:
        if entry.name == missing.name and entry.kind is Member.FILE:
            if found:
                sink.discard(missing.path)
            found = _copy(members, sink, missing.path, entry.size) == missing.digest
    if not found:
        raise InputError(f"the content of {shown(missing.path)} comes several times in one layer")


def _copy(members: TarReader, sink: _Kept, path: str, size: int) -> Digest:
    """Write the current member to the sink, hashed on the way."""
    content, hashed = sink.create(path, size), hashlib.sha256()
    try:
        for view in members.chunks():
            hashed.update(view)
            content.write(view)
    except BaseException:
        content.abort()
        raise
    digest = of_hash(hashed)
    content.commit(digest, size)
    sink.paths.add(path)
    return digest


def _small(reader: ImageReader, descriptor: Descriptor, where: str, limits: Limits) -> bytes:
    if descriptor.size > limits.manifest:
        raise InputError(f"{where} is too large", cause=f"{descriptor.size} bytes")
    try:
        return read_all(reader.blob(descriptor), limit=limits.manifest, name=where)
    except VerificationError as error:
        raise _at(where, error) from error


def _at(where: str, error: VerificationError) -> VerificationError:
    """The error, which names a blob, with where in the image that is."""
    if where in error.message:
        return error
    return type(error)(f"{where}: {error.message}", cause=error.cause, remedy=error.remedy, issues=error.issues)
