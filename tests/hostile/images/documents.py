# SPDX-License-Identifier: Apache-2.0
"""Manifests, indexes and configs that lie, contradict themselves, lead in circles, or are too much."""

import json
from collections.abc import Callable
from typing import Any

from ashore.nouns.digest import of
from ashore.nouns.image import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from ashore.nouns.limits import MIB
from tests.fakes.images import MemoryStore, layer, member, put_image
from tests.hostile.images.case import Case, OpenStore, Put, edited, image, index, named_json

TAR = layer(member("srv/x", b"x" * 3000))
HONEST = image(TAR)
GZIP = f"{OCI_LAYER}+gzip"


def document(says: str, change: Callable[[Any], object], *, code: int = 3) -> Case:
    """An honest image whose manifest was changed."""
    return Case(edited(HONEST, change), code=code, says=says)


def of_layer(**fields: object) -> Callable[[Any], object]:
    """Change the first layer's descriptor."""
    return lambda manifest: manifest["layers"][0].update(fields)


def labelled(path: str) -> Callable[[Any], object]:
    """Say that the bundle lies at `path`."""
    return lambda config: config["config"]["Labels"].update({"io.ashore.root": path})


def put(says: str, media_type: str, what: object) -> Case:
    return Case(lambda store: named_json(store, media_type, what), says=says)


def configured(says: str, change: Callable[[Any], object], *, code: int = 3, lands: tuple[str, ...] = ()) -> Case:
    """An honest image whose config was changed, and whose manifest names the changed one."""

    def made(store: MemoryStore) -> None:
        HONEST(store)
        assert store.named is not None
        manifest = json.loads(store.manifests[store.named.digest][1])
        config = json.loads(store.blobs[manifest["config"]["digest"]])
        changed = change(config)
        data = changed if isinstance(changed, bytes) else json.dumps(changed or config).encode()
        manifest["config"] |= {"digest": of(data), "size": len(data)}
        store.blobs[of(data)] = data
        named_json(store, OCI_MANIFEST, manifest)

    return Case(made, code=code, says=says, lands=lands)


def instead(which: str, change: Callable[[bytes], bytes]) -> Put:
    """An honest image, one blob of which is other bytes than its descriptor says."""

    def made(store: MemoryStore) -> None:
        HONEST(store)
        assert isinstance(store, OpenStore)
        assert store.named is not None
        manifest = json.loads(store.manifests[store.named.digest][1])
        found = manifest["config"] if which == "config" else manifest["layers"][0]
        store.instead[found["digest"]] = change(store.blobs[found["digest"]])

    return made


def loop(store: MemoryStore) -> None:
    """Two indexes that name each other; no digest can, so the store answers what it likes."""
    first, second = of(b"first"), of(b"second")
    for here, there in ((first, second), (second, first)):
        data = json.dumps(index({"mediaType": OCI_INDEX, "digest": there, "size": 1})).encode()
        store.manifests[here] = (OCI_INDEX, data)
    named_json(store, OCI_INDEX, index({"mediaType": OCI_INDEX, "digest": first, "size": 1}))


def nested(depth: int) -> Put:
    def made(store: MemoryStore) -> None:
        entry: dict[str, object] = {"mediaType": OCI_MANIFEST, "digest": put_image(store, [TAR]).digest, "size": 1}
        for _ in range(depth):
            data = json.dumps(index(entry)).encode()
            store.manifests[of(data)] = (OCI_INDEX, data)
            entry = {"mediaType": OCI_INDEX, "digest": of(data), "size": len(data)}
        named_json(store, OCI_INDEX, index(entry))

    return made


def lying_index(store: MemoryStore) -> None:
    """The index says manifest, the manifest says index."""
    HONEST(store)
    assert store.named is not None
    data = json.dumps(index()).encode()
    store.manifests[of(data)] = (OCI_INDEX, data)
    named_json(store, OCI_INDEX, index({"mediaType": OCI_MANIFEST, "digest": of(data), "size": len(data)}))


def config_of_manifest(store: MemoryStore) -> None:
    """The manifest is its own config, as far as a parser that forgives would notice."""
    HONEST(store)
    assert store.named is not None
    data = store.manifests[store.named.digest][1]
    store.blobs[of(data)] = data
    manifest = json.loads(data)
    manifest["config"] = {"mediaType": OCI_CONFIG, "digest": of(data), "size": len(data)}
    named_json(store, OCI_MANIFEST, manifest)


SHAPE: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
CONFIG = {"mediaType": OCI_CONFIG, "digest": of(b"c"), "size": 1}
LAYER = {"mediaType": OCI_LAYER, "digest": of(b"l"), "size": 1}
BAD_DIGESTS = ("sha256:../../etc/victim", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "0" * 32, "",
    "sha256:" + "a" * 64 + "\n", "sha512:" + "a" * 128)  # fmt: skip

CASES: dict[str, Case] = {
    "a layer of other bytes": Case(instead("layer", lambda b: bytes(len(b))), code=5, says="digest"),
    "a layer that is longer": Case(instead("layer", lambda b: b + b"x"), code=5, says="size"),
    "a layer that is shorter": Case(instead("layer", lambda b: b[:-1]), code=5, says="size"),
    "a layer of endless bytes": Case(instead("layer", lambda b: b + bytes(8 * MIB)), code=5, says="size"),
    "a layer that says it is longer": document("size", lambda m: m["layers"][0].update(size=100_000), code=5),
    "a layer that says it is shorter": document("size", lambda m: m["layers"][0].update(size=10), code=5),
    "a config of other bytes": Case(instead("config", lambda b: b.replace(b"amd64", b"arm64")), code=5, says="digest"),
    "a config that is longer": Case(instead("config", lambda b: b + b" "), code=5, says="size"),
    "a config that says it is shorter": document("size", lambda m: m["config"].update(size=5), code=5),
    "a config of a terabyte": document("too large", lambda m: m["config"].update(size=1 << 40)),
    **{f"a layer's digest {d[:24]!r}": document("malformed", of_layer(digest=d)) for d in BAD_DIGESTS},
    "a config's digest that leads out": document(
        "malformed", lambda m: m["config"].update(digest="sha256:../../../etc/shadow")),
    "a negative size": document("malformed", lambda m: m["layers"][0].update(size=-1)),
    "a size beyond 64 bits": document("malformed", lambda m: m["layers"][0].update(size=2**70)),
    "a size that is text": document("malformed", lambda m: m["layers"][0].update(size="10")),
    "a size that is broken": document("malformed", lambda m: m["layers"][0].update(size=10.5)),
    **{f"a layer of type {t!r}": document("media type", of_layer(mediaType=t)) for t in (
        "application/vnd.oci.image.layer.v1.tar+xz", "application/octet-stream", "", OCI_CONFIG, OCI_MANIFEST,
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/html")},
    "128 layers": document("128 layers", lambda m: m.update(layers=[m["layers"][0]] * 128)),
    "a hundred thousand layers": put("malformed", OCI_MANIFEST, SHAPE | {"config": CONFIG, "layers": [LAYER] * 20_000}),
    "no layers": document("layers", lambda m: m.update(layers=[])),
    "fewer layers than the config names": document("layers", lambda m: m.update(layers=[])),
    "more layers than the config names": document("layers", lambda m: m.update(layers=m["layers"] * 2)),
    "layers that are null": document("malformed", lambda m: m.update(layers=None)),
    "an index and a manifest": document("at once", lambda m: m.update(manifests=[])),
    "an index with layers": put("at once", OCI_INDEX, {"schemaVersion": 2, "manifests": [], "layers": []}),
    "an index called a manifest": put("malformed", OCI_MANIFEST, {"schemaVersion": 2, "manifests": []}),
    "a manifest called an index": put("malformed", OCI_INDEX, {"schemaVersion": 2, "layers": [], "config": CONFIG}),
    "a type that contradicts": put("says it is", DOCKER_MANIFEST, SHAPE | {"config": CONFIG, "layers": []}),
    "a type that nobody knows": put("type", "text/plain", {"schemaVersion": 2, "config": CONFIG, "layers": []}),
    "a type of version 1": put("type", "application/vnd.docker.distribution.manifest.v1+prettyjws",
        {"schemaVersion": 1, "fsLayers": []}),
    "an artifact": document("config", lambda m: m["config"].update(mediaType="application/vnd.oci.empty.v1+json")),
    "a layer as config": document("config", lambda m: m["config"].update(mediaType=GZIP)),
    "a manifest as its config": Case(config_of_manifest, says="malformed"),
    "an index as an image": Case(lying_index, says="the index says"),
    "indexes in a circle": Case(loop, says="index"),
    "an index of itself, six deep": Case(nested(6), says="nested"),
    "an index of nothing": put("no image for", OCI_INDEX, index()),
    "an index of 2,000": put("manifests", OCI_INDEX, index(*[LAYER] * 2000)),
    "an index of attestations": put("no image for", OCI_INDEX, index(
        {"mediaType": OCI_MANIFEST, "digest": of(b"a"), "size": 1,
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}})),
    "an index for others": put("no image for", OCI_INDEX, index(
        {"mediaType": OCI_MANIFEST, "digest": of(b"a"), "size": 1,
         "platform": {"architecture": "\x1b[31mvax", "os": "vms"}})),
    "a manifest of 5 MiB": put("more than", OCI_MANIFEST, SHAPE | {
        "config": CONFIG, "layers": [], "annotations": {"a": "x" * (5 * MIB)}}),
    "a hundred thousand annotations": put("more than", OCI_MANIFEST, SHAPE | {
        "config": CONFIG, "layers": [], "annotations": {f"key-{n}": "value" * 8 for n in range(100_000)}}),
    "nested a hundred thousand deep": put("deep", OCI_MANIFEST, b"[" * 100_000 + b"]" * 100_000),
    "objects a hundred thousand deep": put("deep", OCI_MANIFEST, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a key twice": put("twice", OCI_MANIFEST, b'{"schemaVersion":2,"layers":[],"layers":[],"config":{}}'),
    "not a number": put("not JSON", OCI_MANIFEST, b'{"schemaVersion":2,"layers":[],"config":{},"x":NaN}'),
    "a number without end": put("malformed", OCI_MANIFEST, b'{"schemaVersion":' + b"9" * 100_000 + b"}"),
    "a list": put("not a JSON object", OCI_MANIFEST, [SHAPE]),
    "bytes that are no text": put("malformed", OCI_MANIFEST, b"\xff\xfe{\0}\0"),
    "nothing": put("malformed", OCI_MANIFEST, b""),
    "a page of HTML": put("malformed", OCI_MANIFEST, b"<!DOCTYPE html><title>sign in</title>"),
    "a config for another machine": configured("is for", lambda c: c.update(architecture="\x1b[2Jvax")),
    "a config without layers": configured("names 0 layers", lambda c: c["rootfs"].update(diff_ids=[])),
    "a config with a layer too many": configured("names 2 layers", lambda c: c["rootfs"].update(
        diff_ids=c["rootfs"]["diff_ids"] * 2)),
    "a config whose layer leads out": configured("malformed", lambda c: c["rootfs"].update(
        diff_ids=["sha256:../../../etc/shadow"])),
    "a config that names another layer": configured("config names", lambda c: c["rootfs"].update(
        diff_ids=[of(b"other")]), code=5),
    "a config that is a list": configured("not a JSON object", lambda c: b"[]"),
    "a config nested deep": configured("deep", lambda c: b"[" * 100_000),
    **{f"a label that leads to {path!r}": configured("not a folder of an image", labelled(path))
        for path in ("../../etc", "a/../../b", "..", "/..", "a\0b")},
    "a label that leads nowhere": configured("carries no bundle", lambda c: c["config"]["Labels"].update(
        {"io.ashore.root": "no/such/folder"})),
    "labels that look like commands": configured("", lambda c: c["config"]["Labels"].update(
        {"org.opencontainers.image.title": "../../$(reboot);image", "run": "docker run --privileged"}),
        code=0, lands=("srv", "srv/x")),
    "addresses of foreign layers are not asked": Case(edited(HONEST, lambda m: m["layers"][0].update(  # type: ignore[index]
        urls=["http://169.254.169.254/latest/meta-data"], data="bm90IHRoZSBsYXllcg==")),
        code=0, lands=("srv", "srv/x")),
}  # fmt: skip
