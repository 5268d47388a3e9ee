# SPDX-License-Identifier: Apache-2.0
"""One suite for images in memory, layouts and archives: what every place for an image promises."""

import bz2
import gzip
import lzma
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ashore.acts.author.copy import copy
from ashore.acts.fetch.fetch import fetch_tree, resolve_image
from ashore.errors import AshoreError, InputError, UsageError, VerificationError
from ashore.mechanisms.images.blobfiles import ArchiveFiles
from ashore.mechanisms.images.layout import LayoutWriter
from ashore.mechanisms.images.streams import BytesStream, CountedHashed, read_all
from ashore.mechanisms.images.transports import open_reader, open_writer
from ashore.nouns.digest import hex_of, of
from ashore.nouns.image import OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest
from ashore.nouns.limits import DEFAULT, MIB
from ashore.nouns.ports import ImageReader, ImageWriter
from ashore.nouns.reference import parse
from ashore.rules.images.verify import unjudged
from tests.fakes.images import AMD64, MemorySink, MemoryStore, Silent, layer, member, put_image, symlink

LAYERS = (
    layer(member("ashore/root/a", b"one"), member("ashore/root/gone", b"x")),
    layer(member("ashore/root/big", os.urandom(1000) * 3000), member("ashore/root/.wh.gone"), symlink("etc", "x")),
)
Writer = Callable[[], AbstractContextManager[ImageWriter]]


class Place:
    """Somewhere for one image, and how to write and read it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._store = MemoryStore()

    def settings(self) -> Any:
        raise AssertionError("no registry is asked here")

    @contextmanager
    def writer(self) -> Iterator[ImageWriter]:
        if not self.name:
            yield self._store
            return
        with open_writer(parse(self.name), settings_factory=self.settings, progress=Silent(), limits=DEFAULT) as writer:
            yield writer

    def reader(self, name: str = "") -> ImageReader:
        if not self.name:
            return self._store
        return open_reader(parse(name or self.name), settings_factory=self.settings, progress=Silent(), limits=DEFAULT)

    def copy_from(self, source: ImageReader) -> str:
        target = parse(self.name or "docker.io/memory")
        with self.writer() as writer:
            return copy(
                parse("docker.io/source"), source, target, writer, platform=None, progress=Silent(), limits=DEFAULT
            )


@pytest.fixture(params=["memory", "oci", "oci with tag", "oci-archive", "docker-archive", "docker-archive with name"])
def place(request: pytest.FixtureRequest, tmp_path: str) -> Place:
    kind, _, rest = request.param.partition(" with ")
    if kind == "memory":
        return Place("")
    tag = {"tag": ":v1", "name": ":reg.example.com/team/app:1"}.get(rest, "")
    return Place(f"{kind}:{tmp_path}/image{tag}")


def manifest_of(store: MemoryStore) -> Manifest:
    assert store.named is not None
    return msgspec.json.decode(store.manifests[store.named.digest][1], type=Manifest)


def source(compression: str = "gzip") -> MemoryStore:
    store = MemoryStore()
    put_image(store, LAYERS, compression=compression)
    return store


def contents(reader: ImageReader, name: str = "oci:x") -> dict[str, bytes]:
    reference = parse(name)
    image = resolve_image(reader, reference, AMD64, DEFAULT)
    sink = MemorySink()
    fetch_tree(unjudged(image), reader, sink, prefix="ashore", progress=Silent(), limits=DEFAULT)
    return sink.files


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_what_was_written_is_read(place: Place, compression: str) -> None:
    place.copy_from(source(compression))
    assert contents(place.reader()) == {"root/a": b"one", "root/big": contents(source())["root/big"]}


def test_a_second_copy_changes_nothing(place: Place) -> None:
    assert place.copy_from(source()) == place.copy_from(source())
    assert set(contents(place.reader())) == {"root/a", "root/big"}


def test_digests_survive_where_manifests_do(place: Place) -> None:
    digest = place.copy_from(source())
    if not place.name.startswith("docker-archive"):
        assert place.reader().resolve().digest == digest


def test_nothing_that_fails_its_digest_gets_in(place: Place) -> None:
    good = b"a layer"
    descriptor = Descriptor(media_type=OCI_LAYER, digest=of(good), size=len(good))
    bad = CountedHashed(BytesStream(b"another"), digest=of(good), size=len(good), name="a blob")
    with place.writer() as writer:
        with pytest.raises(VerificationError):
            writer.put_blob(descriptor, bad)
        assert not writer.has_blob(descriptor)
        bad = CountedHashed(BytesStream(b"shor"), digest=of(good), size=len(good), name="a blob")
        with pytest.raises(VerificationError):
            writer.put_blob(descriptor, bad)
        assert not writer.has_blob(descriptor)


def test_a_blob_that_failed_does_not_spoil_the_others(place: Place) -> None:
    wrong = CountedHashed(BytesStream(b"x" * 3000), digest=of(b"y"), size=4000, name="a blob")
    with place.writer() as writer:
        with pytest.raises(VerificationError):
            writer.put_blob(Descriptor(media_type=OCI_LAYER, digest=of(b"y"), size=4000), wrong)
        copy(
            parse("docker.io/source"), source(), parse(place.name or "docker.io/memory"), writer,
            platform=None, progress=Silent(), limits=DEFAULT,
        )  # fmt: skip
    assert set(contents(place.reader())) == {"root/a", "root/big"}


def test_a_blob_that_is_not_there(place: Place) -> None:
    place.copy_from(source())
    missing = Descriptor(media_type=OCI_LAYER, digest=of(b"missing"), size=7)
    with pytest.raises(AshoreError):
        read_all(place.reader().blob(missing), limit=MIB, name="it")
    with pytest.raises(AshoreError):
        place.reader().manifest(of(b"missing"))


def test_an_image_that_is_not_there(place: Place) -> None:
    with pytest.raises(InputError):
        place.reader().resolve()


def test_what_was_not_finished_leaves_nothing(tmp_path: str) -> None:
    for kind in ("oci-archive", "docker-archive"):
        with Place(f"{kind}:{tmp_path}/a").writer() as writer:
            writer.put_blob(Descriptor(media_type=OCI_LAYER, digest=of(b"x"), size=1), BytesStream(b"x"))
        assert os.listdir(tmp_path) == []


def test_a_layout_holds_several_images_by_tag(tmp_path: str) -> None:
    first, second = MemoryStore(), MemoryStore()
    put_image(first, [layer(member("ashore/root/a", b"1"))])
    put_image(second, [layer(member("ashore/root/a", b"2"))])
    place = Place(f"oci:{tmp_path}/out")
    digests = {}
    for tag, store in (("v1", first), ("v2", second)):
        digests[tag] = Place(f"oci:{tmp_path}/out:{tag}").copy_from(store)
    for tag, digest in digests.items():
        assert place.reader(f"oci:{tmp_path}/out:{tag}").resolve().digest == digest
        assert place.reader(f"oci:{tmp_path}/out@{digest}").resolve().digest == digest
    with pytest.raises(InputError) as caught:
        place.reader().resolve()
    assert "v1, v2" in caught.value.cause
    with pytest.raises(InputError, match="names no image"):
        place.reader(f"oci:{tmp_path}/out:v3").resolve()


def test_a_tag_moves(tmp_path: str) -> None:
    place = Place(f"oci:{tmp_path}/out:v1")
    place.copy_from(source())
    other = MemoryStore()
    put_image(other, [layer(member("ashore/root/a", b"2"))])
    digest = place.copy_from(other)
    assert Place(f"oci:{tmp_path}/out").reader().resolve().digest == digest


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_a_damaged_blob_is_refused(kind: str, tmp_path: str) -> None:
    place = Place(f"{kind}:{tmp_path}/out")
    store = source("none")
    place.copy_from(store)
    damaged = of(LAYERS[0])
    path = f"{tmp_path}/out/blobs/sha256/{hex_of(damaged)}" if kind == "oci" else f"{tmp_path}/out"
    with open(path, "r+b") as file:
        data = file.read()
        file.seek(data.index(b"one"))
        file.write(b"two")
    with pytest.raises(VerificationError):
        contents(place.reader())


BROKEN = {
    "no layout": {},
    "no index": {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'},
    "another version": {"oci-layout": b'{"imageLayoutVersion":"2.0.0"}', "index.json": b"{}"},
    "no JSON": {"oci-layout": b"x", "index.json": b"x"},
    "two lists": {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"manifests":[],"manifests":[{"mediaType":"","digest":"sha256:%s","size":1}]}'
        % (b"0" * 64),
    },
    "half a character": {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"manifests":[{"mediaType":"\xed\xa0\x80","digest":"sha256:%s","size":1}]}'
        % (b"0" * 64),
    },
    "no UTF-8": {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"mediaType":"\xff"}',
    },
    "an index of numbers": {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b"[1]"},
    "a digest that leads out": {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}',
    },
    "a negative size": {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": b'{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:%s","size":-1}]}'
        % (b"0" * 64),
    },
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_a_broken_layout_is_refused(case: str, kind: str, tmp_path: str) -> None:
    if kind == "oci":
        os.mkdir(f"{tmp_path}/out")
        for name, data in BROKEN[case].items():
            with open(f"{tmp_path}/out/{name}", "wb") as file:
                file.write(data)
    else:
        with open(f"{tmp_path}/out", "wb") as file:
            file.write(layer(*[member(name, data) for name, data in BROKEN[case].items()]))
    with pytest.raises(InputError):
        Place(f"{kind}:{tmp_path}/out").reader().resolve()


def test_names_that_are_given_at_the_same_time_are_all_given(tmp_path: Path) -> None:
    tags = [f"v{number}" for number in range(12)]
    begin = threading.Barrier(len(tags))

    def name(tag: str) -> None:
        writer = LayoutWriter(str(tmp_path), tag, DEFAULT)
        begin.wait()
        writer.put_manifest(OCI_MANIFEST, b'{"tag":"%s"}' % tag.encode(), named=True)

    with ThreadPoolExecutor(len(tags)) as threads:
        list(threads.map(name, tags))
    for tag in tags:
        assert Place(f"oci:{tmp_path}:{tag}").reader().resolve().digest == of(b'{"tag":"%s"}' % tag.encode())


NAMES = ["docker.io/library/web:1", "localhost:5000/web:2", "web:3", "team/web", "v1"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
@pytest.mark.parametrize("tag", NAMES)
def test_a_path_ends_at_the_first_colon(kind: str, tag: str, tmp_path: Path) -> None:
    store = MemoryStore()
    put_image(store, [layer(member("ashore/root/a", b"1"))])
    Place(f"{kind}:{tmp_path}/out:{tag}").copy_from(store)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert contents(Place(f"{kind}:{tmp_path}/out:{tag}").reader()) == {"root/a": b"1"}
    with pytest.raises(InputError, match="names no image") as refused:
        Place(f"{kind}:{tmp_path}/out:other:1").reader().resolve()
    assert tag in refused.value.cause


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_who_was_let_have_a_colon_in_the_path_is_told(kind: str, tmp_path: Path) -> None:
    """As references have it that an ashore recorded for which the path ended at the last one."""
    with pytest.raises(InputError, match="is missing") as refused:
        Place(f"{kind}:{tmp_path}/at:noon/out:1").reader().resolve()
    assert "first colon" in refused.value.remedy


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_a_compressed_archive_is_said_to_be_one(kind: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(compress(layer(member("index.json", b"{}"))))
    with pytest.raises(InputError, match="is compressed"):
        Place(f"{kind}:{tmp_path}/out").reader()


def test_an_archive_in_docker_s_form_leaves_nothing_open(tmp_path: Path) -> None:
    store = MemoryStore()
    put_image(store, [layer(member(f"ashore/root/{number}", os.urandom(1000))) for number in range(8)])
    before = len(os.listdir("/proc/self/fd"))
    with Place(f"docker-archive:{tmp_path}/image").writer() as writer:
        for blob in manifest_of(store).layers:
            writer.put_blob(blob, BytesStream(store.blobs[blob.digest]))
        open_now = len(os.listdir("/proc/self/fd"))
    assert open_now == before + 1, "the archive itself"


def test_too_many_layers_are_refused_before_one_is_read(tmp_path: Path) -> None:
    count = DEFAULT.layers + 1
    names = ",".join(['"absent"'] * count).encode()
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%s]}}'
    config %= b",".join([b'"sha256:%s"' % (b"0" * 64)] * count)
    with open(f"{tmp_path}/out", "wb") as file:
        saved = member("manifest.json", b'[{"Config":"c.json","Layers":[%s]}]' % names)
        file.write(layer(saved, member("c.json", config)))
    with pytest.raises(InputError, match=f"{count} layers, more than {DEFAULT.layers}"):
        Place(f"docker-archive:{tmp_path}/out").reader().resolve()


DOCKER_BROKEN = {
    "no list": {},
    "no JSON": {"manifest.json": b"x"},
    "an empty list": {"manifest.json": b"[]"},
    "no config": {"manifest.json": b'[{"Config":"c.json","Layers":[]}]'},
    "a config that is no UTF-8": {
        "manifest.json": b'[{"Config":"c.json","Layers":[]}]',
        "c.json": b'{"architecture":"\xff"}',
    },
    "a config that is none": {"manifest.json": b'[{"Config":"c.json","Layers":[]}]', "c.json": b"{}"},
    "too few layers": {
        "manifest.json": b'[{"Config":"c.json","Layers":[]}]',
        "c.json": b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}'
        % (b"0" * 64),
    },
}


@pytest.mark.parametrize("case", DOCKER_BROKEN)
def test_a_broken_docker_archive_is_refused(case: str, tmp_path: str) -> None:
    with open(f"{tmp_path}/out", "wb") as file:
        file.write(layer(*[member(name, data) for name, data in DOCKER_BROKEN[case].items()]))
    with pytest.raises(InputError):
        Place(f"docker-archive:{tmp_path}/out").reader().resolve()


def test_docker_archives_of_old_share_layers_by_symlink(tmp_path: str) -> None:
    data = layer(member("ashore/root/a", b"1"))
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["%s"]}}' % of(data).encode()
    with open(f"{tmp_path}/out", "wb") as file:
        file.write(
            layer(
                member("aa/layer.tar", data),
                symlink("bb/layer.tar", "../aa/layer.tar"),
                member("c.json", config),
                member("manifest.json", b'[{"Config":"c.json","Layers":["bb/layer.tar"],"RepoTags":["x:1"]}]'),
            )
        )
    assert contents(Place(f"docker-archive:{tmp_path}/out:x:1").reader()) == {"root/a": b"1"}
    with pytest.raises(InputError, match="names no image"):
        Place(f"docker-archive:{tmp_path}/out:x:2").reader().resolve()


def test_a_docker_archive_takes_no_index_and_nothing_is_written_to_a_digest(tmp_path: str) -> None:
    with Place(f"docker-archive:{tmp_path}/out").writer() as writer, pytest.raises(InputError, match="one image"):
        writer.put_manifest("application/vnd.oci.image.index.v1+json", b"{}", named=True)
    with pytest.raises(UsageError), Place(f"oci:{tmp_path}/out@{of(b'x')}").writer():
        pass


def test_an_archive_is_not_written_over_an_image_of_another_name(tmp_path: str) -> None:
    source = MemoryStore()
    put_image(source, LAYERS)
    for name in ("out:1", "out:1", "unnamed", "unnamed:1"):
        Place(f"oci-archive:{tmp_path}/{name}").copy_from(source)
    for name in ("out:2", "out"):
        with pytest.raises(UsageError, match="other images, which would be lost") as caught:
            Place(f"oci-archive:{tmp_path}/{name}").copy_from(source)
        assert caught.value.cause == "it has 1" and "oci:DIR" in caught.value.remedy
    assert Place(f"oci-archive:{tmp_path}/out:1").reader().resolve().size
    with open(f"{tmp_path}/note", "w") as file:
        file.write("no archive")
    Place(f"oci-archive:{tmp_path}/note:1").copy_from(source)


def test_the_name_in_a_docker_archive_is_one_that_docker_loads(tmp_path: str) -> None:
    source = MemoryStore()
    put_image(source, LAYERS)
    Place(f"docker-archive:{tmp_path}/out:web").copy_from(source)
    saved = ArchiveFiles(f"{tmp_path}/out", DEFAULT)
    text = read_all(saved.open("manifest.json")[0], limit=MIB, name="list")
    assert msgspec.json.decode(text)[0]["RepoTags"] == ["web:latest"]
    assert Place(f"docker-archive:{tmp_path}/out:web").reader().resolve().size
    for name in ("UPPER:x", "web:a b"):
        with pytest.raises(UsageError, match="docker loads no image named"):
            Place(f"docker-archive:{tmp_path}/other:{name}").copy_from(source)
    assert not os.path.exists(f"{tmp_path}/other")
