# SPDX-License-Identifier: Apache-2.0
"""References become images, and layers files: indexes, platforms, confusions, and what is left after a fault."""

import json
import threading
from typing import Any

import msgspec
import pytest

from ashore.acts.fetch.fetch import fetch_tree, resolve_image
from ashore.errors import AshoreError, InputError, VerificationError
from ashore.nouns.digest import of
from ashore.nouns.files import Entry
from ashore.nouns.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Image,
    Index,
    Platform,
)
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.reference import parse
from ashore.rules.images.verify import unjudged
from tests.fakes.images import AMD64, MemorySink, MemoryStore, Silent, hardlink, layer, member, put_image

ARM64 = Platform("arm64")
REFERENCE = parse("localhost:5000/app:1")
ONE = layer(member("ashore/root/a", b"1"))


def put_index(store: MemoryStore, *entries: Descriptor, named: bool = True, media_type: str = OCI_INDEX) -> Descriptor:
    data = msgspec.json.encode(Index(schema_version=2, media_type=media_type, manifests=entries))
    return Descriptor(media_type=media_type, digest=store.put_manifest(media_type, data, named=named), size=len(data))


def resolve(store: MemoryStore, platform: Platform = AMD64, limits: Limits = DEFAULT) -> Image:
    return resolve_image(store, REFERENCE, platform, limits)


def fetch(
    store: MemoryStore, *, prefix: str = "ashore", limits: Limits = DEFAULT, sink: MemorySink | None = None
) -> tuple[dict[str, Entry], MemorySink, Silent]:
    sink, progress = sink or MemorySink(), Silent()
    verified = unjudged(resolve(store))
    tree = fetch_tree(verified, store, sink, prefix=prefix, progress=progress, limits=limits)
    return dict(tree), sink, progress


def test_a_manifest_is_its_own_digest() -> None:
    store = MemoryStore()
    made = put_image(store, [ONE])
    image = resolve(store)
    assert (image.digest, image.manifest_digest) == (made.digest, made.digest)
    assert image.reference == str(REFERENCE)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_an_index_is_chosen_from_by_platform(media_type: str) -> None:
    store = MemoryStore()
    amd, arm = (put_image(store, [ONE], platform=p, named=False) for p in (AMD64, ARM64))
    top = put_index(store, amd, arm, media_type=media_type)
    for platform, made in ((AMD64, amd), (ARM64, arm)):
        image = resolve(store, platform)
        assert (image.digest, image.manifest_digest) == (top.digest, made.digest)


def test_the_variant_decides_where_there_are_several() -> None:
    store = MemoryStore()
    v6, v7 = (put_image(store, [ONE], platform=Platform("arm", variant=v), named=False) for v in ("v6", "v7"))
    put_index(store, v6, v7)
    assert resolve(store, Platform("arm", variant="v7")).manifest_digest == v7.digest
    with pytest.raises(InputError, match="no image for linux/arm/v5"):
        resolve(store, Platform("arm", variant="v5"))


@pytest.mark.parametrize(("variant", "chosen"), [("", "v6"), ("v7", "v6"), ("v6", "v6"), ("v5", "v5")])
def test_an_arm_processor_gets_the_newest_that_it_runs(variant: str, chosen: str) -> None:
    store = MemoryStore()
    made = {v: put_image(store, [ONE], platform=Platform("arm", variant=v), named=False) for v in ("v5", "v6")}
    put_index(store, *made.values())
    assert resolve(store, Platform("arm", variant=variant)).manifest_digest == made[chosen].digest


def test_attestations_are_no_images() -> None:
    store = MemoryStore()
    made = put_image(store, [ONE], named=False)
    note = msgspec.structs.replace(
        put_image(store, [], platform=AMD64, named=False), annotations={"vnd.docker.reference.type": "attestation"}
    )
    put_index(store, note, made)
    assert resolve(store).manifest_digest == made.digest


def test_no_image_for_the_platform_lists_what_there_is() -> None:
    store = MemoryStore()
    put_index(store, put_image(store, [ONE], platform=ARM64, named=False))
    with pytest.raises(InputError, match="no image for linux/amd64") as caught:
        resolve(store)
    assert "linux/arm64" in caught.value.cause


def test_an_image_for_another_platform_is_refused_unless_it_fits_all() -> None:
    store = MemoryStore()
    put_image(store, [ONE], platform=ARM64)
    with pytest.raises(InputError, match="is for linux/arm64, not for linux/amd64"):
        resolve(store)
    put_image(store, [ONE], platform=ARM64, labels={"io.ashore.platform": "any"})
    assert resolve(store).config.architecture == "arm64"


def test_a_nested_index_is_followed_so_deep_and_no_deeper() -> None:
    store = MemoryStore()
    entry = put_image(store, [ONE], named=False)
    for _ in range(2):
        entry = put_index(store, entry)
    assert resolve(store).digest == entry.digest
    put_index(store, entry)
    with pytest.raises(InputError, match="nested more than 2 deep"):
        resolve(store)


def test_a_pinned_digest_holds() -> None:
    store = MemoryStore()
    put_image(store, [ONE])
    with pytest.raises(VerificationError):
        resolve_image(store, REFERENCE.pinned(of(b"other")), AMD64, DEFAULT)


CONFIG = {"mediaType": OCI_CONFIG, "digest": of(b"c"), "size": 1}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}
LAYER = {"mediaType": OCI_LAYER, "digest": of(b"l"), "size": 1}

CONFUSED = {
    "an index and a manifest": (OCI_MANIFEST, MANIFEST | {"manifests": []}),
    "an index with layers": (OCI_INDEX, {"schemaVersion": 2, "manifests": [], "layers": []}),
    "an index called a manifest": (OCI_MANIFEST, {"schemaVersion": 2, "manifests": []}),
    "a manifest called an index": (OCI_INDEX, {"schemaVersion": 2, "config": CONFIG, "layers": []}),
    "a type that contradicts": (DOCKER_MANIFEST, MANIFEST),
    "another type": ("text/plain", MANIFEST | {"mediaType": "text/plain"}),
    "an artifact": (OCI_MANIFEST, MANIFEST | {"config": CONFIG | {"mediaType": "application/vnd.oci.empty.v1+json"}}),
    "too many layers": (OCI_MANIFEST, MANIFEST | {"layers": [LAYER] * 128}),
    "a digest that leads out": (OCI_MANIFEST, MANIFEST | {"layers": [LAYER | {"digest": "sha256:../../x"}]}),
    "a digest in upper case": (OCI_MANIFEST, MANIFEST | {"layers": [LAYER | {"digest": of(b"l").upper()}]}),
    "an md5": (OCI_MANIFEST, MANIFEST | {"layers": [LAYER | {"digest": "md5:" + "0" * 32}]}),
    "a negative size": (OCI_MANIFEST, MANIFEST | {"layers": [LAYER | {"size": -1}]}),
    "a huge config": (OCI_MANIFEST, MANIFEST | {"config": CONFIG | {"size": 2**40}}),
    "a list": (OCI_MANIFEST, [MANIFEST]),
    "no config": (OCI_MANIFEST, {"schemaVersion": 2, "layers": []}),
    "too many manifests": (OCI_INDEX, {"schemaVersion": 2, "manifests": [LAYER] * 2000}),
}


@pytest.mark.parametrize("case", CONFUSED)
def test_confused_documents_are_refused(case: str) -> None:
    media_type, document = CONFUSED[case]
    store = MemoryStore()
    store.put_manifest(media_type, json.dumps(document).encode(), named=True)
    with pytest.raises(InputError):
        resolve(store)


TEXTS = [
    b"", b"x", b"\xff", b"[" * 100_000, b'{"schemaVersion":NaN}', b" " * (5 * 1024 * 1024),
    json.dumps(MANIFEST).encode().replace(b'"layers"', b'"layers": [], "layers"'),
    json.dumps(MANIFEST).encode().replace(b'"size"', b'"size": 2, "size"'),
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_malformed_documents_are_refused(text: bytes) -> None:
    store = MemoryStore()
    store.put_manifest(OCI_MANIFEST, text, named=True)
    with pytest.raises(InputError, match="is malformed"):
        resolve(store)


def test_a_config_with_another_number_of_layers_is_refused() -> None:
    store = MemoryStore()
    made = put_image(store, [ONE, ONE])
    data = json.loads(store.manifests[made.digest][1])
    data["layers"].pop()
    store.put_manifest(OCI_MANIFEST, json.dumps(data).encode(), named=True)
    with pytest.raises(InputError, match="is malformed"):
        resolve(store)


def test_an_index_whose_entry_is_of_another_type_is_refused() -> None:
    store = MemoryStore()
    made = put_image(store, [ONE], named=False)
    put_index(store, msgspec.structs.replace(made, media_type=DOCKER_MANIFEST))
    with pytest.raises(InputError, match="is 'application"):
        resolve(store)


LARGE = layer(*[member(f"ashore/root/f{n}", b"%d" % n * 300_000) for n in range(20)])


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_large_layers_go_through_threads_and_none_is_left(compression: str) -> None:
    store, before = MemoryStore(), threading.active_count()
    put_image(store, [LARGE, ONE], compression=compression)
    tree, sink, progress = fetch(store)
    assert sink.files == {f"root/f{n}": b"%d" % n * 300_000 for n in range(20)} | {"root/a": b"1"}
    assert tree["root/f3"].digest == of(b"3" * 300_000)
    assert threading.active_count() == before
    assert store.opened == store.closed == 3
    assert set(progress.ended) == {"layer 1 of 2", "layer 2 of 2"}


def spoil(store: MemoryStore, number: int, data: bytes) -> None:
    """Put other bytes where a layer was."""
    assert store.named
    manifest = json.loads(store.manifests[store.named.digest][1])
    store.blobs[manifest["layers"][number]["digest"]] = data


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("data", [ONE, LARGE], ids=["small", "large"])
def test_damage_anywhere_is_refused_and_nothing_stays_open(compression: str, data: bytes) -> None:
    before = threading.active_count()
    for at in (0, 200, 700):
        store, sink = MemoryStore(), MemorySink()
        put_image(store, [layer(member("ashore/root/z")), data], compression=compression)
        layers = [d for d in store.blobs.values() if d[:1] != b"{"]
        blob = bytearray(max(layers, key=len) if data is LARGE else layers[-1])
        blob[min(at, len(blob) - 1)] ^= 1
        spoil(store, 1, bytes(blob))
        with pytest.raises(AshoreError):
            fetch(store, sink=sink)
        assert threading.active_count() == before
        assert store.opened == store.closed
        assert sink.open == 0


def test_a_layer_that_is_shorter_or_longer_is_refused() -> None:
    for data in (ONE[:-512], ONE + bytes(512), b""):
        store = MemoryStore()
        put_image(store, [ONE], compression="none")
        spoil(store, 0, data)
        with pytest.raises(VerificationError):
            fetch(store)


def test_a_sink_that_fails_is_told_and_the_threads_end() -> None:
    class Full(MemorySink):
        def create(self, path: str, size: int) -> Any:
            if len(self.files) == 3:
                raise InputError("no room")
            return super().create(path, size)

    before = threading.active_count()
    store = MemoryStore()
    put_image(store, [LARGE])
    with pytest.raises(InputError, match="no room"):
        fetch(store, sink=Full())
    assert threading.active_count() == before
    assert store.opened == store.closed


def test_layers_share_the_limits_of_an_image() -> None:
    store = MemoryStore()
    put_image(store, [ONE] * 3)
    room = len(ONE) * 2
    with pytest.raises(InputError, match="layer 3 is too large"):
        fetch(store, limits=Limits(image_bytes=room))
    with pytest.raises(InputError, match="layer 3 is not a valid archive"):
        fetch(store, limits=Limits(entries=2))


def test_an_image_without_a_bundle_is_refused() -> None:
    store = MemoryStore()
    put_image(store, [layer(member("etc/passwd"))])
    with pytest.raises(InputError, match="carries no bundle"):
        fetch(store)


def test_a_content_lost_with_its_first_name_is_read_again() -> None:
    store = MemoryStore()
    lower = layer(member("ashore/root/b", b"1"), hardlink("ashore/root/c", "ashore/root/b"))
    put_image(store, [lower, layer(member("ashore/root/b", b"2"))])
    tree, sink, _ = fetch(store)
    assert sink.files == {"root/b": b"2", "root/c": b"1"}
    assert tree["root/c"].link == ""
    assert store.opened == store.closed
