# SPDX-License-Identifier: Apache-2.0
"""One hostile image: how it is made, and what becomes of it. The tables beside this file are lists of these."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ashore.nouns.digest import Digest
from ashore.nouns.image import OCI_INDEX, Descriptor
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.ports import Stream
from ashore.nouns.reference import ImageReference
from tests.fakes.bundles import FakeImages
from tests.fakes.images import MemoryStore, put_image

Put = Callable[[MemoryStore], None]
"""Writes an image into an empty store, as a hostile author or registry would have it."""


class Case(NamedTuple):
    """`code` is the exit code: 3 or 5 where it is refused, 0 where policy says that the input is legal.

    A refusal names `entry` and `layer` where the fault lies in one, and says `says`. What is legal brings
    exactly the paths `lands`, whatever else the archive names.
    """

    put: Put
    code: int = 3
    says: str = ""
    entry: str = ""
    layer: int = 0
    lands: tuple[str, ...] = ()
    limits: Limits = DEFAULT
    most_written: int = 1 << 20
    """Bytes that may go to files before it is refused, besides what the state needs."""


def image(*layers: bytes, root: str = "/", compression: str = "gzip") -> Put:
    """An honest image of hostile layers, whose tree is `root` of the image."""

    def put(store: MemoryStore) -> None:
        put_image(store, layers, compression=compression, labels={"io.ashore.root": root})

    return put


def bundle(*layers: bytes) -> Put:
    """An image whose bundle lies where bundles lie, in ``/ashore``."""

    def put(store: MemoryStore) -> None:
        put_image(store, layers)

    return put


def refused(says: str, *layers: bytes, entry: str = "", root: str = "/", at: int = 0, limits: Limits = DEFAULT) -> Case:
    """Layers that are refused; the fault lies in layer `at`, by default the last."""
    return Case(image(*layers, root=root), says=says, entry=entry, layer=at or len(layers), limits=limits)


def legal(*layers: bytes, lands: tuple[str, ...], root: str = "/") -> Case:
    """Layers that policy allows: what they bring stays inside, and is exactly `lands`."""
    return Case(image(*layers, root=root), code=0, lands=lands)


class HostileImages(FakeImages):
    """`FakeImages` that has images of stores beside its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stores: dict[str, MemoryStore] = {}

    def open(self, reference: ImageReference) -> "MemoryStore":  # type: ignore[override]
        store = self.stores.get(f"{reference.place}/{reference.repository}:{reference.tag}")
        return store or super().open(reference)  # type: ignore[return-value]


class OpenStore(MemoryStore):
    """A store that answers what it was told to, under any digest: it does not check what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.instead: dict[Digest, bytes] = {}

    def blob(self, descriptor: Descriptor) -> Stream:
        if descriptor.digest in self.instead:
            self.blobs[descriptor.digest] = self.instead[descriptor.digest]
        return super().blob(descriptor)


def named_json(store: MemoryStore, media_type: str, document: object) -> None:
    """Publish any JSON as the image."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    store.put_manifest(media_type, data, named=True)


def edited(put: Put, change: Callable[[dict[str, object]], object]) -> Put:
    """The image of `put`, with its manifest changed."""

    def made(store: MemoryStore) -> None:
        put(store)
        assert store.named is not None
        media_type, data = store.manifests[store.named.digest]
        document = json.loads(data)
        change(document)
        named_json(store, media_type, document)

    return made


def index(*entries: Mapping[str, object], **more: object) -> dict[str, object]:
    """An index document."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}
