# SPDX-License-Identifier: Apache-2.0
"""``ashore delta``: what makes a new image's files out of an old one's is made, and stored beside the new image."""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from ashore.acts.author.attached import Attached, described
from ashore.acts.author.buildtools import BuildTools
from ashore.acts.fetch.contents import Contents
from ashore.acts.fetch.fetch import resolve_image
from ashore.errors import InputError
from ashore.mechanisms.durable import write_all
from ashore.mechanisms.images.blobfiles import FilePart
from ashore.mechanisms.images.directory import write_directory
from ashore.mechanisms.images.patch import BytesContent, Content, make
from ashore.mechanisms.images.streams import BytesStream, CountedHashed, Readable, read_all
from ashore.mechanisms.images.table import position
from ashore.mechanisms.state.content import hash_file
from ashore.nouns.delta import DIRECTORY, PATCHES, Patch
from ashore.nouns.digest import Digest, of, short
from ashore.nouns.files import Entry
from ashore.nouns.image import OCI_EMPTY, OCI_MANIFEST, Descriptor, Image, Index, Platform, VerifiedImage
from ashore.nouns.limits import KIB
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference
from ashore.rules.images.deltas import EMPTY, delta_manifest, inlined, pairs
from ashore.rules.images.documents import carried_bundle, parse_config, parse_manifest_or_index
from ashore.rules.images.verify import unjudged

_ALONG = 24 * KIB
"""A part of a delta up to this size comes along in its manifest, which saves a request."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A delta: which image's, from which, and what is in it."""

    image: Digest
    base: Digest
    """Digests of the two images' manifests."""
    platform: str
    digest: Digest
    contents: int
    size: int
    """Bytes of what a host fetches of it, if it needs all."""
    instead_of: int
    """Bytes of the layers that hold the same."""


Store = Callable[[Attached], object]
"""Takes a delta in; its blobs are gone afterwards."""


def make_deltas(
    old: ImageReference, new: ImageReference, tools: BuildTools, store: Store, *, own: bool = False
) -> tuple[Made, ...]:
    """Make a delta of each image that `new` names from the one that `old` has for its platform.

    `own`: `new` was built here just now, so no policy is asked whether it may be read.

    Raises:
        InputError: an image is malformed, or the two have no platform in common.
        RegistryError, VerificationError: as the readers have it.
    """
    made, passed_over = [], []
    for reference, platform, above in _images(new, tools):
        try:
            reader = tools.open_image(old)
            base = resolve_image(reader, old, platform, tools.limits)
        except InputError as error:
            passed_over.append(error)
            continue
        old_one, judged = (old, reader, base), None if own else new
        if delta := _make_delta(old_one, reference, platform, tools, store, above=above, judged=judged):
            made.append(delta)
    if passed_over and not made:
        raise passed_over[0]
    return tuple(made)


def _images(
    reference: ImageReference, tools: BuildTools
) -> Iterator[tuple[ImageReference, Platform, tuple[Digest, ...]]]:
    """Each image of an index, or the one that is none, and what vouches for it; of an installer image, the bundle's."""
    reader, where = tools.open_image(reference), str(reference)
    top = reader.resolve()
    document = parse_manifest_or_index(*reader.manifest(top.digest), f"{where}: {top.digest}", tools.limits)
    if isinstance(document, Index):
        carried = carried_bundle(document)
        for entry in (carried,) if carried else document.manifests:
            if entry.platform is not None:
                yield reference.pinned(entry.digest), entry.platform, (top.digest,)
        return
    data = read_all(reader.blob(document.config), limit=tools.limits.manifest, name=where)
    config = parse_config(data, document, f"{where}: its config", tools.limits)
    yield reference.pinned(top.digest), config.platform, ()


def _make_delta(
    base: tuple[ImageReference, ImageReader, Image],
    reference: ImageReference,
    platform: Platform,
    tools: BuildTools,
    store: Store,
    *,
    above: tuple[Digest, ...],
    judged: ImageReference | None,
) -> Made | None:
    """`above`: what vouches for `reference`. `judged`: what policy.json is asked about of the new image, if it is."""
    reader = tools.open_image(reference)
    image = resolve_image(reader, reference, platform, tools.limits)
    image = msgspec.structs.replace(image, named=(*above, *image.named))
    if image.manifest_digest == base[2].manifest_digest:
        tools.progress.say(f"{reference} is what the delta would start at")
        return None
    if not all(position(layer, tools.limits) for layer in image.manifest.layers):
        raise InputError(
            f"{reference} cannot have a delta",
            cause="it has no table of contents, so that a host fetches its layers whole",
            remedy="build it with --compression zstd:chunked",
        )
    with (
        tempfile.TemporaryDirectory(prefix="ashore-delta-") as aside,
        open(os.path.join(aside, "patches"), "x+b") as into,
    ):
        old = _contents(tools.admitted(base[2], base[0], base[1]), base[1], tools, os.path.join(aside, "old"))
        admitted = tools.admitted(image, judged, reader) if judged else unjudged(image)
        new = _contents(admitted, reader, tools, os.path.join(aside, "new"))
        listed, instead_of = _patches(old, new, into.fileno(), tools)
        attached = _attached(image, reader, base[2].manifest_digest, write_directory(listed), into.fileno())
        size = attached.descriptor.size + sum(blob.size for blob in attached.blobs if blob.data is None)
        if size >= instead_of:
            tools.progress.say(f"{short(image.manifest_digest)}: a delta would save nothing")
            return None
        store(attached)
    return Made(
        image=image.manifest_digest,
        base=base[2].manifest_digest,
        platform=str(platform),
        digest=attached.descriptor.digest,
        contents=len(listed),
        size=size,
        instead_of=instead_of,
    )


def _attached(image: Image, reader: ImageReader, base: Digest, directory: bytes, patches: int) -> Attached:
    """The delta with its manifest; small parts come along in it."""
    digest, size = hash_file(patches)
    parts = {
        DIRECTORY: Descriptor(media_type=DIRECTORY, digest=of(directory), size=len(directory)),
        PATCHES: Descriptor(media_type=PATCHES, digest=digest, size=size),
    }
    opened: dict[str, Callable[[], Readable]] = {
        OCI_EMPTY: lambda: BytesStream(EMPTY),
        DIRECTORY: lambda: BytesStream(directory),
    }
    opened[PATCHES] = lambda: FilePart(os.dup(patches), 0, size)
    media_type, text = reader.manifest(image.manifest_digest)
    subject = Descriptor(media_type=media_type, digest=image.manifest_digest, size=len(text))
    whole = {PATCHES: os.pread(patches, size, 0) if size <= _ALONG else b"", DIRECTORY: directory}
    layers = (inlined(part, whole[kind]) if part.size <= _ALONG else part for kind, part in parts.items())
    manifest = delta_manifest(subject, base, *layers)
    data = msgspec.json.encode(manifest)
    return Attached(
        subject=subject.digest,
        descriptor=described(OCI_MANIFEST, data, manifest),
        data=data,
        blobs=(manifest.config, *manifest.layers),
        open=lambda blob: CountedHashed(
            opened[blob.media_type](), digest=blob.digest, size=blob.size, name="the new delta"
        ),
    )


def _contents(image: VerifiedImage, reader: ImageReader, tools: BuildTools, folder: str) -> Contents:
    return Contents(image, reader, folder, tools.progress, tools.limits)


def _patches(old: Contents, new: Contents, into: int, tools: BuildTools) -> tuple[list[Patch], int]:
    """Everything that is smaller as a patch: the layers' indexes, then files in the order of their paths.

    The second is what a host would fetch instead, in bytes.
    """
    listed: list[Patch] = []
    instead_of = 0

    def take(patches: list[Patch], cost: int) -> None:
        nonlocal instead_of
        listed.extend(patches)
        instead_of += cost if patches else 0

    for number in range(tools.limits.layers):
        before, after = old.index(number), new.index(number)
        if before and after and before.digest != after.digest:
            source, target = BytesContent(before.data), BytesContent(after.data)
            take(_patch((before.digest, source), (after.digest, target), into, after.table), after.table)
    found, costs = pairs(old.tree, new.tree), new.costs()
    old.bring({pair.old.digest for pair in found})
    new.bring({pair.new.digest for pair in found})
    name = "comparing files"
    tools.progress.begin(name, sum(pair.new.size for pair in found))
    try:
        for pair in found:
            cost = costs.get(pair.new.digest, pair.new.size)
            take(_file_patch(old, new, pair.old, pair.new, into, cost), cost)
            tools.progress.advance(name, pair.new.size)
    finally:
        tools.progress.end(name)
    return listed, instead_of


def _file_patch(old: Contents, new: Contents, before: Entry, after: Entry, into: int, cost: int) -> list[Patch]:
    source, target = old.open(before.digest), new.open(after.digest)
    try:
        return _patch((before.digest, source), (after.digest, target), into, cost)
    finally:
        os.close(source.descriptor)
        os.close(target.descriptor)


def _patch(old: tuple[Digest, Content], new: tuple[Digest, Content], into: int, cost: int) -> list[Patch]:
    """The patch, written; nothing if the content itself is as small."""
    at = os.lseek(into, 0, os.SEEK_END)
    length = make(old[1], new[1], partial(write_all, into), most=cost)
    if length is None:
        os.ftruncate(into, at)
        return []
    return [Patch(old[0], new[0], old[1].size, new[1].size, at, length)]
