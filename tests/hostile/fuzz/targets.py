# SPDX-License-Identifier: Apache-2.0
"""Everything that reads bytes from outside, as functions of bytes that may raise an AshoreError and nothing else."""

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from ashore.errors import AshoreError
from ashore.mechanisms.images import compactindex, patch, table
from ashore.mechanisms.images.compression import open_layer
from ashore.mechanisms.images.directory import read_directory, write_directory
from ashore.mechanisms.images.streams import BytesStream
from ashore.mechanisms.images.tar import TarReader
from ashore.mechanisms.images.zstandard import zstd
from ashore.mechanisms.registry import urls
from ashore.mechanisms.registry.auth import _read_token, parse_challenges
from ashore.nouns import delta, digest, reference
from ashore.nouns.delta import Patch
from ashore.nouns.image import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, Index, Manifest, Platform
from ashore.nouns.layer import Member
from ashore.nouns.limits import Limits
from ashore.rules.bundles.manifest import parse_manifest, suspicions
from ashore.rules.bundles.values import parse_set
from ashore.rules.files.merge import merge
from ashore.rules.images import deltas
from ashore.rules.images.documents import choose, parse_config, parse_manifest_or_index
from ashore.rules.images.imagetree import ImageTree
from ashore.rules.images.policy import parse_policy
from ashore.rules.libraries import linker
from ashore.rules.libraries.elf import soname
from ashore.rules.triggers import sysctl, sysusers, tmpfiles
from ashore.rules.units import unitfile
from tests.fakes.elf import library
from tests.fakes.images import MemoryStore, folder, hardlink, layer, member, pax, put_image, symlink

LIMITS = Limits(image_bytes=4 << 20, entries=2000, placed=2000)


class Target(NamedTuple):
    """`run` reads bytes; `seeds` are good ones to begin from."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def tar(data: bytes) -> None:
    tree = ImageTree("", LIMITS)
    tree.begin_layer("layer 1")
    members = TarReader(BytesStream(data), "layer 1", LIMITS)
    for entry in members:
        file = tree.add(entry)
        tree.dropped()
        if file:
            file.content(digest.of(data), sum(len(view) for view in members.chunks()))
    tree.finish()


def unpack(kind: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        stream = open_layer(BytesStream(data), f"{OCI_LAYER}+{kind}", LIMITS, None)
        buffer = bytearray(1 << 16)
        while stream.readinto(buffer):
            pass

    return run


def document(data: bytes) -> None:
    for media_type in (OCI_MANIFEST, OCI_INDEX):
        with contextlib.suppress(AshoreError):
            found = parse_manifest_or_index(media_type, data, "it", LIMITS)
            if isinstance(found, Index):
                choose(found, Platform("amd64"), "it")


def config(data: bytes) -> None:
    parse_config(data, _MANIFEST, "it", LIMITS)


def contents(data: bytes) -> None:
    """A table of contents, under a manifest that vouches for these very bytes."""
    blob = Descriptor(media_type=f"{OCI_LAYER}+zstd", digest=digest.of(b""), size=1 << 20, annotations=_table_of(data))
    place = table.position(blob, LIMITS)
    if place is not None:
        _are_digests(table.members(table.parse(data, place, "it", LIMITS), blob, "it"))


def _are_digests(listed: Iterable[table.Listed] | None) -> None:
    """What names files of a store from here on is checked."""
    for item in listed or ():
        assert item.entry.kind is not Member.FILE or digest.parse(item.digest)


def index(data: bytes) -> None:
    """A compact index, as an older version's blob would have it."""
    blob = Descriptor(media_type=f"{OCI_LAYER}+zstd", digest=digest.of(b""), size=1 << 20)
    _are_digests(table.members(compactindex.decode(data, "it"), blob, "it"))


def patched(data: bytes) -> None:
    """A patch, in bytes that its directory has told the length of."""
    how = Patch(digest.of(b"old"), digest.of(b"new"), len(_OLD), 600, 0, len(data))
    patch.apply(BytesStream(data), how, delta.SEGMENT, patch.BytesContent(_OLD), lambda _: None, LIMITS)


def merged(data: bytes) -> None:
    base, _, rest = data.partition(b"\x01")
    ours, _, theirs = rest.partition(b"\x01")
    merge(base, ours, theirs)


def reactions(value: str) -> None:
    """What triggers read of a bundle's files, and of the host's."""
    sysctl.assignments(value)
    sysusers.newcomers(value)
    tmpfiles.made_by([value])
    linker.search_folders({"etc/ld.so.conf": value, "etc/ld.so.conf.d/a.conf": value})


def token(data: bytes) -> None:
    _read_token(urls.parse("https://auth.example/token"), data)


def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def url(value: str) -> None:
    with contextlib.suppress(ValueError):
        urls.join(urls.parse("https://reg.example/v2/a"), value)


def _table_of(data: bytes) -> dict[str, str]:
    prefix = "io.github.containers.zstd-chunked"
    return {
        f"{prefix}.manifest-checksum": digest.of(data),
        f"{prefix}.manifest-position": f"1000:{len(data)}:{1 << 20}:1",
    }


_STORE = MemoryStore()
put_image(_STORE, [layer(member("a", b"1"))], labels={"a": "b"})
assert _STORE.named is not None
_DOCUMENT = _STORE.manifests[_STORE.named.digest][1]
_MANIFEST = msgspec.json.decode(_DOCUMENT, type=Manifest)
_INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest.of(b""), "size": 1, "platform": {"architecture": "amd64"}}
        ],
    }
).encode()
_TAR = layer(
    folder("d"),
    pax(path=b"d/long", size=b"3", SCHILY__xattr__user__a=b"x"),
    member("d/f", b"abc"),
    member("././@LongLink", b"d/other\0", kind=b"L"),
    symlink("l", "d"),
    hardlink("d/h", "d/long"),
    member("d/.wh.x"),
    member(".wh..wh..opq"),
)
_TOML = b"""schema = 1
name = "a"
[values]
x = { required = true, secret = true }
y.z = [1, 2.5, 1979-05-27, "s"]
[units]
enable = ["a.service"]
[[files]]
path = "etc/*"
mode = "0600"
on_edit = "merge"
validate = ["/bin/true", "{path}"]
[[health]]
http = "http://127.0.0.1:1/healthz"
within = "90s"
"""
_ENTRY = {
    "type": "reg",
    "name": "a",
    "mode": 420,
    "size": 3,
    "digest": digest.of(b"abc"),
    "offset": 10,
    "endOffset": 90,
}
_TABLE = zstd.compress(json.dumps({"version": 1, "entries": [_ENTRY]}).encode())

_OLD = bytes(range(256)) * 4
_WROTE = bytearray()
patch.make(patch.BytesContent(_OLD), patch.BytesContent(_OLD[::-1][:600]), _WROTE.extend, most=1 << 20)
_MADE_OF = Patch(digest.of(b"old"), digest.of(b"new"), 9, 9, 0, 5)
_DELTA = deltas.delta_manifest(
    Descriptor(media_type=OCI_MANIFEST, digest=digest.of(b"subject"), size=1),
    digest.of(b"base"),
    Descriptor(media_type=delta.DIRECTORY, digest=digest.of(b"1"), size=1),
    Descriptor(media_type=delta.PATCHES, digest=digest.of(b"2"), size=1),
)
_FOLDER_LINE = table.TocEntry(type="dir", name="d", mode=493)
_INDEX_LINE = table.TocEntry(type="reg", name="a", mode=420, size=3, digest=digest.of(b"abc"), offset=10, end_offset=90)

TARGETS: dict[str, Target] = {
    "index": Target(index, (compactindex.encode([_INDEX_LINE, _FOLDER_LINE]) or b"",)),
    "directory": Target(lambda data: read_directory(data, 1000, LIMITS), (write_directory([_MADE_OF]),)),
    "patch": Target(patched, (bytes(_WROTE),)),
    "delta": Target(
        lambda data: deltas.parse_delta(data, digest.of(b"subject"), "it", LIMITS),
        (msgspec.json.encode(_DELTA),),
    ),
    "library": Target(lambda data: soname(lambda at, length: data[at : at + length]), (library("liba.so.1"),)),
    "merge": Target(merged, (b"a\nb\nc\n\x01a\nB\nc\n\x01a\nb\nC\n", b"a\n" * 9 + b"\x01" + b"a\n" * 7 + b"\x01b\n")),
    "reactions": Target(
        text(reactions),
        (
            b"net.ipv4.ip_forward = 1\n-a/b=2\n",
            b"u app 100:200 - /srv\ng x\nm app x\n",
            b"d /srv/a 0755 - - 1d\n",
            b"include /etc/ld.so.conf.d/*.conf\n/opt/lib\n",
        ),
    ),
    "tar": Target(tar, (_TAR, layer(member("x")))),
    "gzip": Target(unpack("gzip"), (gzip.compress(_TAR, mtime=0), gzip.compress(b"") * 3)),
    "zstd": Target(unpack("zstd"), (zstd.compress(_TAR), zstd.compress(b"") * 3)),
    "document": Target(document, (_DOCUMENT, _INDEX)),
    "config": Target(config, (_STORE.blobs[_MANIFEST.config.digest],)),
    "contents": Target(contents, (_TABLE,)),
    "bundle.toml": Target(lambda data: parse_manifest(data, "bundle.toml", "a"), (_TOML, b'values.a."b".c = 1')),
    "suspicions": Target(lambda data: suspicions(data, "bundle.toml"), (_TOML,)),
    "policy": Target(
        lambda data: parse_policy(data, "policy.json"),
        (b'{"default":[{"type":"reject"}],"transports":{"docker":{"a":[{"type":"insecureAcceptAnything"}]}}}',),
    ),
    "reference": Target(
        text(reference.parse), (b"reg.example:5000/a/b:1@sha256:" + b"a" * 64, b"oci:dir:tag", b"docker-archive:f:n:t")
    ),
    "digest": Target(text(digest.parse), (b"sha256:" + b"a" * 64,)),
    "challenge": Target(
        text(lambda value: parse_challenges([value])),
        (b'Bearer realm="https://a/t",service="s",scope="repository:a:pull", Basic realm="x"',),
    ),
    "token": Target(token, (b'{"token":"abc","expires_in":300}', b'{"access_token":"a","x":[[1]]}')),
    "url": Target(text(url), (b"https://reg.example:5000/a?b=c#d", b"/a/../b", b"//host/x")),
    "unit": Target(text(unitfile.parse), (b"[Unit]\nAfter=a\\\n  b\n#c\n[Install]\nWantedBy=x\n",)),
    "set": Target(text(parse_set), (b"a.b={c=[1,2]}", b"x=plain text")),
}


def tried(target: Target, data: bytes) -> None:
    """Run a target; an AshoreError is an answer, anything else is a find.

    Raises:
        Exception: the find.
    """
    with contextlib.suppress(AshoreError):
        target.run(data)


CORPUS = os.path.join(os.path.dirname(__file__), "..", "..", "cases", "fuzz")
