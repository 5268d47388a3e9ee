# SPDX-License-Identifier: Apache-2.0
"""Where an image's contents go: aside for `plan`, onto the host's own mounts for `install`. Both take it in parts
where its registry gives them, and ask for nothing that is here."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

import msgspec

from ashore.acts.fetch.bases import Bases
from ashore.acts.fetch.partial import PartialImage
from ashore.acts.tools import Tools
from ashore.errors import RegistryError, UnchangedError
from ashore.mechanisms.beneath import Following
from ashore.mechanisms.images.cache import Cache, CacheSink
from ashore.mechanisms.images.table import position
from ashore.mechanisms.stage.intake import StagingSink
from ashore.mechanisms.stage.room import lacking, may_be_scarce
from ashore.mechanisms.stage.staging import Staging
from ashore.mechanisms.stage.supply import Opener
from ashore.nouns.amounts import size
from ashore.nouns.digest import Digest, hex_of, of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import Image, VerifiedImage
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ContentSink
from ashore.rules.bundles.bundle import needs_text

LEAST_PARTS = 256 << 10
"""Bytes: a smaller image is here in one request, before its table would be."""
_WORTH_PARTS = 0.6
"""The share of an image's bytes up to which it is fetched in parts."""
_WORTH_GOING_ON = 0.05
"""The share of an image's bytes from which on what came of it before is worth to be fetched around."""

More = Callable[[Collection[Digest]], None]
"""Has contents fetched: in parts, or where the registry turns out to give none, with all of the image."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An image's ways to its tree: all of it as a stream, or by its tables where it has them. `bases` it may use."""

    bases: Bases
    stream: Callable[[ContentSink], Mapping[str, Entry]]
    tables: Callable[[], PartialImage | None]


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """What a place got: the tree, and where its contents open."""

    tree: Mapping[str, Entry]
    contents: Opener
    more: More | None = None


class Place(Protocol):
    """Where fetched contents go."""

    def fetch(self, image: VerifiedImage, prefix: str, source: Source) -> Fetch:
        """Take the image in by `source`, or answer from what was fetched before."""
        ...


class IntoCache:
    """`plan`: contents are kept aside, for the install that follows; in parts only those that are asked for."""

    def __init__(self, tools: Tools) -> None:
        self._cache, self._limits = tools.cache, tools.limits

    def fetch(self, image: VerifiedImage, prefix: str, source: Source) -> Fetch:
        key = cache_key(image.image, prefix)
        tree = self._cache.tree(key)
        got = self._in_parts(key, source) if tree is None and _is_large(image.image) else None
        if got is not None:
            return got
        tree = tree if tree is not None else _whole(self._cache, key, source)
        return Fetch(tree=tree, contents=functools.partial(self._cache.open, key))

    def _in_parts(self, key: str, source: Source) -> Fetch | None:
        """What rules must read; the rest when somebody looks at it."""
        partial = source.tables()
        if partial is None:
            return None
        parts = _Parts(self._cache, key, partial, source)
        texts = parts.lacking(_texts(partial, self._limits))
        if partial.cost(texts) > _WORTH_PARTS * partial.whole or not parts.take(texts):
            return None
        return Fetch(tree=partial.hand_over(), contents=parts.open, more=parts.more)


class _Parts:
    """An image of which the cache gets what is asked for and lies nowhere on this host."""

    def __init__(self, cache: Cache, key: str, partial: PartialImage, source: Source) -> None:
        self._cache, self._key, self._partial, self._source = cache, key, partial, source
        self._kept = set(cache.kept(key))
        self._sink: CacheSink | None = None

    def lacking(self, digests: Collection[Digest]) -> list[Digest]:
        """Those that have to be fetched, by the host's record."""
        wanted = set(digests) - self._kept
        return [digest for digest in wanted if self._partial.has(digest) and not self._source.bases.has(digest)]

    def take(self, digests: Collection[Digest]) -> bool:
        """Fetch these contents; False where the registry gives no parts."""
        if digests:
            self._sink = self._sink or self._cache.sink(self._key)
            if not self._partial.fetch(digests, self._sink):
                return False
        self._kept.update(digests)
        return True

    def open(self, digest: Digest) -> int | None:
        """A descriptor of a content of the image (`supply.Opener`)."""
        if not self._partial.has(digest):
            return None
        if digest not in self._kept:
            if (found := self._source.bases.open(digest)) is not None:
                return found
            self._bring([digest])
        return self._cache.open(self._key, digest)

    def more(self, digests: Collection[Digest]) -> None:
        """Have these at hand, in as few requests as that takes."""
        self._bring(self.lacking(digests))
        self._partial.tell()

    def _bring(self, digests: Collection[Digest]) -> None:
        if not self.take(digests):
            tree = _whole(self._cache, self._key, self._source)
            self._kept.update(entry.digest for entry in tree.values())


class _Coming(msgspec.Struct, frozen=True, kw_only=True):
    """An image on its way: where its files go, and from how many bytes on the next run would use what came."""

    sink: StagingSink
    worth: float


class IntoStaging:
    """`install`: each file is written once, on the mount where it will lie; or taken from what `plan` kept."""

    def __init__(self, tools: Tools, staging: Staging) -> None:
        self._tools, self._staging, self._cache = tools, staging, tools.cache
        self._following = Following(tools.host)
        self._coming: dict[str, _Coming] = {}
        """The images of which another run could fetch the rest, by key."""
        self.used: list[str] = []

    def fetch(self, image: VerifiedImage, prefix: str, source: Source) -> Fetch:
        key = cache_key(image.image, prefix)
        self.used.append(key)
        tree = self._cache.tree(key)
        if tree is not None:
            return Fetch(tree=tree, contents=functools.partial(self._cache.open, key))
        sink = StagingSink(self._staging, self._target)
        large, worth = _is_large(image.image), _WORTH_GOING_ON * _size(image.image)
        tabled = large and all(position(layer, self._tools.limits) for layer in image.image.manifest.layers)
        if tabled:
            self._coming[key] = _Coming(sink=sink, worth=worth)
        goes_on = large and self._cache.size(key) > worth
        apart = goes_on or (large and self._tools.history.current_number())
        with self._broken_off():
            got = self._in_parts(key, source, sink, most=1 if goes_on else _WORTH_PARTS) if apart else None
            if got is None:
                if tabled and may_be_scarce(self._tools.host, _size(image.image)):
                    self._refuse_too_large(source)
                got = Fetch(tree=source.stream(sink), contents=self._staging.open_loose)
                self._staging.begin_sync()
        return got

    def _refuse_too_large(self, source: Source) -> None:
        """All of it is about to be written: its tables tell how much that is, and where.

        Raises:
            UnchangedError: there is no room for it.
        """
        try:
            partial = source.tables()
        except RegistryError:
            return  # it would only have told beforehand: the whole may well come
        files = partial.hand_over().items() if partial is not None else ()
        coming = ((self._target(path), entry) for path, entry in files if entry.kind is Kind.FILE)
        if issues := lacking(self._staging, [(path, entry) for path, entry in coming if path is not None]):
            raise UnchangedError("the image is too large for this host; nothing was changed", issues=issues)

    @contextlib.contextmanager
    def _broken_off(self) -> Iterator[None]:
        """Where the registry or somebody breaks a fetch off, what came is kept for the next run: it goes on there."""
        try:
            yield
        except (RegistryError, KeyboardInterrupt):
            for key, coming in self._coming.items():
                if came := [(digest, self._staging.fd(at.area), at.name) for digest, at in coming.sink.taken()]:
                    self._cache.take(key, came)
            kept = [(self._cache.size(key), coming.worth) for key, coming in self._coming.items()]
            if useful := sum(came for came, worth in kept if came > worth):
                self._tools.progress.say(f"{size(useful)} that have come are kept for the next run")
            raise

    def _in_parts(self, key: str, source: Source, sink: ContentSink, *, most: float) -> Fetch | None:
        """What rules must read now; the rest when the plan is known. None where one stream is quicker, by `most`."""
        partial, bases = source.tables(), source.bases
        if partial is None:
            return None
        kept = self._cache.kept(key)
        lacking = {e.digest for e in partial.tree.values() if e.kind is Kind.FILE} - bases.here() - kept
        if partial.cost(lacking) > most * partial.whole:
            return None
        all_of_it = functools.cache(lambda: source.stream(sink))

        def bring(digests: Collection[Digest]) -> None:
            # With the table known already, by a delta or from before, it turns out only here who gives no parts.
            with self._broken_off():
                if not partial.fetch(digests, sink):
                    all_of_it()

        texts = _texts(partial, self._tools.limits)
        if not partial.fetch([digest for digest in texts - kept if not bases.has(digest)], sink):
            return None
        partial.expect(lacking - texts)

        def open_it(digest: Digest) -> int | None:
            found = self._staging.open_loose(digest)
            if found is None and digest in kept:
                found = self._cache.open(key, digest)
            if found is None and digest in texts:
                found = bases.open(digest)
            wanted = digest in texts or digest not in bases.here()
            if found is None and wanted:
                bring([digest])
                found = self._staging.open_loose(digest)
            return found

        def more(digests: Collection[Digest]) -> None:
            bring(set(digests) - kept)
            partial.tell()

        return Fetch(tree=partial.hand_over(), contents=open_it, more=more)

    def _target(self, path: str) -> str | None:
        below = path.partition("/")[2] if path.startswith("root/") else ""
        try:
            return self._following.physical(below) if below else None
        except OSError:
            return None  # Planning says what is wrong with the path; until then its content lies beside the state.


def cache_key(image: Image, prefix: str) -> str:
    """The name that the cache has for a tree of an image."""
    return f"{hex_of(image.manifest_digest)}-{hex_of(of(prefix.encode()))[:8]}"


def _is_large(image: Image) -> bool:
    return _size(image) >= LEAST_PARTS


def _size(image: Image) -> int:
    """Bytes of all layers as they are stored."""
    return sum(layer.size for layer in image.manifest.layers)


def _texts(partial: PartialImage, limits: Limits) -> set[Digest]:
    """What rules read of any image, as far as that is known without its `bundle.toml`."""
    return {entry.digest for path, entry in partial.tree.items() if needs_text(path, entry, limits=limits)}


def _whole(cache: Cache, key: str, source: Source) -> Mapping[str, Entry]:
    """Fetch the image into the cache."""
    tree = source.stream(cache.sink(key))
    cache.finish(key, tree)
    return tree
