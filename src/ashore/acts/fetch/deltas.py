# SPDX-License-Identifier: Apache-2.0
"""What of an image need not be fetched: what is known of it, and what a delta makes out of what the host has.

All of it is a way to fetch less, never a reason to fail: what is missing or wrong here is fetched as ever. And
nothing of it is believed: each result is held against the digest that the image's manifest, or the table that
the manifest names, has for it.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from ashore.acts.fetch.bases import Bases
from ashore.acts.fetch.partial import Needed
from ashore.acts.tools import Tools
from ashore.errors import AshoreError, InputError, RegistryError, VerificationError
from ashore.mechanisms.images.directory import read_directory
from ashore.mechanisms.images.patch import BytesContent, Content, apply
from ashore.mechanisms.images.streams import BytesStream, Part, Readable, read_all
from ashore.mechanisms.images.table import Listed, Position
from ashore.mechanisms.images.tables import Tables, index_digest
from ashore.nouns.delta import ARTIFACT, Directory, Patch
from ashore.nouns.digest import Digest, of, of_hash
from ashore.nouns.image import Descriptor, VerifiedImage
from ashore.nouns.ports import ContentSink, ImageReader, RangedReader, ReferrerReader
from ashore.rules.images.deltas import carried, choose_delta, parse_delta
from ashore.rules.images.ranges import joined

_MOST_BASES = 64


class Delta(msgspec.Struct, frozen=True):
    """A delta of the image: its directory, and where its patches are."""

    directory: Directory
    patches: Descriptor
    data: bytes | None
    """The patches themselves, where they came along."""


class Deltas:
    """`partial.Shortcuts` of one image, for one host. The registry is asked when something is missing, and once."""

    def __init__(self, tools: Tools, image: VerifiedImage, reader: ImageReader) -> None:
        self._tools, self._image = tools, image.image
        # It is there to save time: what fails is not tried again, but done without.
        self._reader = reader.once() if isinstance(reader, RangedReader) else reader
        self._limits = tools.limits
        self._ranges = 0
        self.bases = Bases(tools)
        self.tables = Tables(self.bases.known, tools.limits)
        self.fetched = 0
        """Bytes, so far."""

    def table(self, layer: Descriptor, place: Position | None) -> tuple[Listed, ...] | None:
        """The members of a layer, without its table: that is known, or made out of the one before."""
        found = self.tables.of_layer(layer, place)
        digest = index_digest(layer)
        if found is None and digest and place and self._make_index(digest, place):
            found = self.tables.of_layer(layer, place)
        return found

    def keep(self, layer: Descriptor, place: Position, table: bytes) -> None:
        """A layer's table was fetched: the next version's may be made out of it."""
        self.tables.keep(layer, place, table)

    def cost(self, digest: Digest) -> int | None:
        """Bytes to fetch for a content that can be made here; None where it cannot."""
        patch = self._patch(digest)
        return patch.length if patch else None

    def take(self, needed: Mapping[Digest, Needed], sink: ContentSink) -> set[Digest]:
        """Make what can be made of these contents into `sink`, and return which that were."""
        found = ((self._patch(digest), what) for digest, what in needed.items())
        patches = {patch: what for patch, what in found if patch is not None and _fits(patch, what)}
        done: set[Digest] = set()
        try:
            for patch, source in self._sources(sorted(patches, key=lambda patch: patch.at)):
                with self.bases.opened(patch.old) as old:
                    if old is not None and self._make(patch, source, old, patches[patch].path, sink):
                        done.add(patch.new)
        except (RegistryError, InputError, VerificationError) as error:
            self._passed_over(error)
        return done

    def _make(self, patch: Patch, source: Readable, old: Content, path: str, sink: ContentSink) -> bool:
        """One content, hashed while it is written; False if it came out wrong."""
        file = sink.create(path, patch.size)
        try:
            self._applied(patch, source, old, file.write)
        except (InputError, VerificationError) as error:
            file.abort()
            self._tools.progress.say(f"{path}: its delta is passed over: {error}")
            return False
        except BaseException:
            file.abort()
            raise
        file.commit(patch.new, patch.size)
        return True

    def _make_index(self, digest: Digest, place: Position) -> bool:
        """Have the compact index `digest` out of an older one, if that takes less than the table."""
        most = Needed("", self._limits.table, place.length)
        patches = (patch for patch in self._delta_patches.get(digest, ()) if _fits(patch, most, index=True))
        bases = ((patch, self.tables.index(patch.old)) for patch in patches)
        patch, old = next(((patch, old) for patch, old in bases if old is not None), (None, None))
        if patch is None or old is None:
            return False
        made = bytearray()
        try:
            for _, source in self._sources([patch]):
                self._applied(patch, source, BytesContent(old), made.extend)
        except (RegistryError, InputError, VerificationError) as error:
            self._passed_over(error)
            return False
        self.tables.keep_index(digest, bytes(made))
        return True

    def _applied(self, patch: Patch, source: Readable, old: Content, write: Callable[[bytes], object]) -> None:
        assert self._delta is not None
        hashed = hashlib.sha256()

        def both(data: bytes) -> None:
            hashed.update(data)
            write(data)

        apply(source, patch, self._delta.directory.segment, old, both, self._limits)
        if (found := of_hash(hashed)) != patch.new:
            raise VerificationError("it makes another content than it says", cause=f"found {found}")

    def _sources(self, patches: Sequence[Patch]) -> Iterator[tuple[Patch, Readable]]:
        """The bytes of patches, in the order of the delta: neighbours in one request.

        Raises:
            RegistryError, VerificationError: as the reader has it.
            InputError: the registry gives no parts, or the patches lie too far apart.
        """
        delta = self._delta
        if delta is None or not patches:
            return
        if delta.data is not None:
            for patch in patches:
                yield patch, BytesStream(memoryview(delta.data)[patch.at : patch.at + patch.length])
            return
        for run in joined(patches, lambda patch: (patch.at, patch.at + patch.length), self._limits.range_gap):
            start, end = run[0].at, run[-1].at + run[-1].length
            stream = self._part(delta.patches, start, end - start)
            try:
                for patch in run:
                    Part(stream, patch.at - start).close()
                    part = Part(stream, patch.length)
                    yield patch, part
                    part.close()
                    start = patch.at + patch.length
            finally:
                stream.close()

    def _part(self, patches: Descriptor, start: int, length: int) -> Readable:
        self._ranges += 1
        reader = self._reader
        if self._ranges > self._limits.delta_ranges or not isinstance(reader, RangedReader):
            raise InputError("a delta's patches lie too far apart")
        stream = reader.blob_range(patches, start, length)
        if stream is None:
            self._limits = msgspec.structs.replace(self._limits, delta_ranges=0)
            raise InputError("the registry gives no parts of a delta")
        self.fetched += length
        return stream

    def _patch(self, digest: Digest) -> Patch | None:
        """The patch that makes a content out of what is here."""
        usable = (patch for patch in self._delta_patches.get(digest, ()) if self.bases.has(patch.old))
        return min(usable, key=lambda patch: patch.length, default=None)

    @functools.cached_property
    def _delta_patches(self) -> Mapping[Digest, list[Patch]]:
        """By what they make; of too many for one content the first."""
        found: dict[Digest, list[Patch]] = {}
        for patch in self._delta.directory.patches if self._delta else ():
            of_one = found.setdefault(patch.new, [])
            if len(of_one) < _MOST_BASES:
                of_one.append(patch)
        return found

    @functools.cached_property
    def _delta(self) -> Delta | None:
        """The delta of the image, looked for on first use."""
        installed = {bundle.manifest_digest for bundle in self.bases.current().bundles}
        if not installed or self._image.manifest_digest in installed or not isinstance(self._reader, ReferrerReader):
            return None
        try:
            found = choose_delta(self._referrers(self._reader), installed, self._limits)
            return self._read(self._reader, found) if found else None
        except (RegistryError, InputError, VerificationError) as error:
            self._passed_over(error)
            return None

    def _referrers(self, reader: ReferrerReader) -> Sequence[Descriptor]:
        """What refers to the image. That a registry has no list is remembered until the month ends."""
        month = self._tools.now()[:7]
        fact = f"{self._image.reference.partition('/')[0]} has no list of referrers, {month}".encode()
        by_tag = self.bases.known.get(of(fact)) is not None
        found = reader.referrers(self._image.manifest_digest, artifact_type=ARTIFACT, by_tag=by_tag)
        if found.by_tag and not by_tag:
            self.bases.known.put(of(fact), fact)
        return found.found

    def _read(self, reader: ImageReader, chosen: Descriptor) -> Delta:
        where = f"{self._image.reference}: its delta {chosen.digest}"
        _, data = reader.manifest(chosen.digest)
        directory, patches = parse_delta(data, self._image.manifest_digest, where, self._limits)
        self.fetched += len(data)
        raw = carried(directory)
        if raw is None:
            raw = read_all(reader.blob(directory), limit=self._limits.delta_directory, name=where)
            self.fetched += len(raw)
        return Delta(read_directory(raw, patches.size, self._limits), patches, carried(patches))

    def _passed_over(self, error: AshoreError) -> None:
        self._tools.progress.say(f"{self._image.reference}: its delta is passed over: {error}")
        if isinstance(error, RegistryError):
            self._delta_patches = {}  # who did not answer once is not waited for again


def _fits(patch: Patch, what: Needed, *, index: bool = False) -> bool:
    """Whether a patch makes as much as is needed (of an index, no more than may be), and is worth its bytes."""
    return patch.length < what.cost and (patch.size <= what.size if index else patch.size == what.size)
