# SPDX-License-Identifier: Apache-2.0
"""A reference becomes a bundle: resolved, verified, fetched, read. Contents go where the caller says."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping

import msgspec

from ashore.acts.fetch.admit import admit, resolve
from ashore.acts.fetch.deltas import Deltas
from ashore.acts.fetch.fetch import fetch_tree
from ashore.acts.fetch.partial import PartialImage
from ashore.acts.fetch.places import LEAST_PARTS, Fetch, More, Place, Source, cache_key
from ashore.acts.recorded import here
from ashore.acts.tools import Tools
from ashore.errors import DamagedContentError, InputError
from ashore.mechanisms.images.tap import Tap
from ashore.mechanisms.stage.supply import Opener, Supply
from ashore.nouns.bundle import MANIFEST_NAME, Bundle
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import Entry, Kind, shown
from ashore.nouns.image import Image
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ContentSink, RangedReader
from ashore.nouns.reference import ImageReference
from ashore.rules.bundles.bundle import needs_text, read_bundle
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.images.imagetree import tree_prefix


class Obtained(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle, and where its contents can be opened."""

    bundle: Bundle
    digest: Digest
    """As the reference resolved: a manifest's or an index's."""
    manifest_digest: Digest
    contents: Opener
    image: Image | None = None
    """None where the host rendered from what it had kept, and asked nobody."""
    more: More | None = None
    """Fetches contents that were left out because the host may have them; None: there are none."""


Known = Callable[[Digest], Bundle | None]
"""The bundle of a manifest, where the host has kept what rendering reads of it."""


def obtain(
    tools: Tools,
    reference: ImageReference,
    place: Place,
    *,
    root_in_image: str = "",
    name: str = "",
    known: Known = lambda _digest: None,
    judged: ImageReference | None = None,
    is_installed: bool = False,
) -> Obtained:
    """Fetch the bundle that `reference` names; one that is `known` only if a content turns out to be needed.

    `judged`: what policy.json is asked about, where it is not `reference`: what the user wrote. `is_installed`: it is
    known to be what this host has, or had, from there.

    Raises:
        InputError, RegistryError, VerificationError: nothing on the host was changed.
    """
    reader, image = resolve(tools, reference)
    verified = admit(tools, image, reader, reference, judged or reference, is_installed=is_installed)
    prefix = tree_prefix(image.config, root_in_image, name=str(reference))
    deltas = Deltas(tools, verified, reader)

    def stream(sink: ContentSink) -> Mapping[str, Entry]:
        tapped = Tap(reader, deltas.tables, tools.limits)
        return fetch_tree(verified, tapped, sink, prefix=prefix, progress=tools.progress, limits=tools.limits)

    def tables() -> PartialImage | None:
        if not isinstance(reader, RangedReader):
            return None
        partial = PartialImage(verified, reader, deltas, tools.progress, tools.limits)
        return partial if partial.open(prefix) else None

    def fetch() -> Fetch:
        return place.fetch(verified, prefix, Source(stream=stream, tables=tables, bases=deltas.bases))

    obtained = functools.partial(Obtained, digest=image.digest, manifest_digest=image.manifest_digest, image=image)
    if (bundle := known(image.manifest_digest)) is not None:
        late = _Late(fetch, {entry.digest for entry in bundle.entries.values()} - here(tools))
        return obtained(bundle=bundle, contents=late.open, more=late.more)
    with _named(reference):
        got, texts = _read(tools, fetch, cache_key(image, prefix))
    if sum(layer.size for layer in image.manifest.layers) >= LEAST_PARTS:
        for digest, text in texts.items():
            deltas.bases.known.put(digest, text)
    with _named(reference):
        bundle = read_bundle(verified, got.tree, texts, name=name, limits=tools.limits)
    return obtained(bundle=bundle, contents=got.contents, more=got.more)


@contextlib.contextmanager
def _named(reference: ImageReference) -> Iterator[None]:
    """What is wrong in an image is said with its name: several may have been asked for."""
    try:
        yield
    except InputError as error:
        if str(reference) in error.message:
            raise
        message = f"{reference}: {error.message}"
        raise InputError(message, cause=error.cause, remedy=error.remedy, issues=error.issues) from error


class _Late:
    """The contents of an image that is fetched when one of them is nowhere else."""

    def __init__(self, fetch: Callable[[], Fetch], lacking: Collection[Digest]) -> None:
        self._fetch = functools.cache(fetch)
        self._lacking = frozenset(lacking)

    def open(self, digest: Digest) -> int | None:
        return self._fetch().contents(digest) if digest in self._lacking else None

    def more(self, digests: Collection[Digest]) -> None:
        wanted = self._lacking & frozenset(digests)
        if wanted and (more := self._fetch().more) is not None:
            more(wanted)


def _read(tools: Tools, fetch: Callable[[], Fetch], key: str) -> tuple[Fetch, dict[Digest, bytes]]:
    """The image, and what rules read of it. What is damaged in the cache is fetched anew."""
    got = fetch()
    try:
        return got, _texts(got.tree, got.contents, tools.limits)
    except DamagedContentError as error:
        tools.progress.say(f"{error}; it is fetched anew")
        tools.cache.distrust(key)
    got = fetch()
    return got, _texts(got.tree, got.contents, tools.limits)


def _texts(tree: Mapping[str, Entry], contents: Opener, limits: Limits) -> dict[Digest, bytes]:
    """The bytes that rules must read: the manifest first, since it says which files are templates."""
    supply = Supply([contents])
    texts: dict[Digest, bytes] = {}
    manifest = None
    top = tree.get(MANIFEST_NAME)
    if top is not None and top.kind is Kind.FILE and top.size <= limits.bundle_toml:
        texts[top.digest] = _text(supply, MANIFEST_NAME, top)
        manifest = parse_manifest(texts[top.digest], MANIFEST_NAME, "bundle")
    for path, entry in tree.items():
        if entry.digest not in texts and needs_text(path, entry, manifest, limits=limits):
            texts[entry.digest] = _text(supply, path, entry)
    return texts


def _text(supply: Supply, path: str, entry: Entry) -> bytes:
    """A content that rules read, hashed here: what came by way of the cache has lain about since it was checked."""
    data = supply.read(entry.digest, entry.size)
    if data is None:
        raise InputError(f"the content of {path} is missing in the image")
    if of(data) != entry.digest:
        raise DamagedContentError(f"what was kept of {shown(path)} is damaged", remedy="delete ashore's cache")
    return data
