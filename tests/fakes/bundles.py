# SPDX-License-Identifier: Apache-2.0
"""Bundle images in memory, made of plain Python: what the flow tests install."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from ashore.errors import RegistryError
from ashore.mechanisms.images.streams import BytesStream
from ashore.nouns.digest import Digest, of
from ashore.nouns.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from ashore.nouns.installer import ANNOTATION_ROLE, ROLE_BUNDLE
from ashore.nouns.reference import ImageReference

CAREFUL = """
[[files]]
path = "/etc/a.conf"
validate = ["/usr/bin/test", "-s", "{path}"]
[[step]]
name = "drain"
phase = "before"
command = ["/opt/drain", "the node"]
reason = "nobody may be on it"
[[health]]
command = ["/opt/well"]
[confirm]
within = "1m"
by = "ssh-login"
"""
"""A `bundle.toml` with each kind of command that a live host runs for a bundle, and a confirmation."""


@dataclass(frozen=True)
class File:
    """A file of a bundle; as text where nothing else is given."""

    data: bytes | str = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """A symlink."""

    target: str


@dataclass(frozen=True)
class Hard:
    """Another name of a file of the same bundle."""

    of: str


@dataclass(frozen=True)
class Folder:
    """A declared folder."""

    mode: int = 0o755


Tree = Mapping[str, "File | Link | Hard | Folder | str"]


def layer(tree: Tree, prefix: str = "ashore/root") -> bytes:
    """The tree as an uncompressed layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, what in sorted(tree.items(), key=lambda item: (isinstance(item[1], Hard), item[0])):
            info = tarfile.TarInfo(f"{prefix}/{path}".strip("/"))
            match what:
                case str():
                    what = File(what)
                case Link(target):
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
                case Hard(of=other):
                    info.type, info.linkname = tarfile.LNKTYPE, f"{prefix}/{other}"
                case Folder(mode):
                    info.type, info.mode = tarfile.DIRTYPE, mode
                case File():
                    pass
            if isinstance(what, File):
                data = what.data.encode() if isinstance(what.data, str) else what.data
                info.size, info.mode, info.uid, info.gid = len(data), what.mode, what.uid, what.gid
                info.pax_headers = {f"SCHILY.xattr.{k}": v.decode("latin-1") for k, v in what.xattrs.items()}
                archive.addfile(info, io.BytesIO(data))
            else:
                archive.addfile(info)
    return stream.getvalue()


class FakeImages:
    """A registry without a network: what was added can be opened by its reference. `calls` counts openings,
    `manifests` the manifests and indexes that were read."""

    def __init__(self) -> None:
        self._tags: dict[str, bytes] = {}
        self._blobs: dict[str, bytes] = {}
        self.calls = self.manifests = 0
        self.down = False

    def add(self, name: str, tree: Tree, toml: str = "", labels: Mapping[str, str] | None = None) -> Digest:
        """Publish a bundle under `name`; returns its digest."""
        whole = {f"root/{path}": what for path, what in tree.items()}
        if toml:
            whole["bundle.toml"] = toml
        fixed = {p: Hard(f"root/{w.of}") if isinstance(w, Hard) else w for p, w in whole.items()}
        return self.add_layers(name, [layer(fixed, "ashore")], labels)

    def add_layers(self, name: str, layers: list[bytes], labels: Mapping[str, str] | None = None) -> Digest:
        """Publish an image of these uncompressed layers."""
        descriptors = [self._blob(gzip.compress(data, mtime=0), OCI_LAYER + "+gzip") for data in layers]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(d).hexdigest() for d in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self._blob(json.dumps(config).encode(), OCI_CONFIG),
            "layers": descriptors,
        }
        data = json.dumps(manifest).encode()
        self._tags[name] = self._blobs[of(data)] = data
        return of(data)

    def add_installer(self, name: str, tree: Tree) -> Digest:
        """Publish an installer image that carries a bundle; returns the bundle's digest, which is what is recorded."""
        digest = self.add(name, tree)
        bundle = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(self._blobs[digest])}
        runs = self._blob(json.dumps({"schemaVersion": 2, "installer of": digest}).encode(), OCI_MANIFEST)
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [runs, bundle | {"annotations": {ANNOTATION_ROLE: ROLE_BUNDLE}}],
        }
        data = json.dumps(index).encode()
        self._tags[name] = self._blobs[of(data)] = data
        return digest

    def open(self, reference: ImageReference) -> "FakeImage":
        self.calls += 1
        return FakeImage(self, reference)

    def _blob(self, data: bytes, media_type: str) -> dict[str, object]:
        self._blobs[of(data)] = data
        return {"mediaType": media_type, "digest": of(data), "size": len(data)}


class FakeImage:
    """`ports.ImageReader` over `FakeImages`."""

    def __init__(self, images: FakeImages, reference: ImageReference) -> None:
        self._images, self._reference = images, reference

    def resolve(self) -> Descriptor:
        if self._images.down:
            raise RegistryError("the registry is down")
        if self._reference.digest:
            data = self._images._blobs[self._reference.digest]
        else:
            name = f"{self._reference.place}/{self._reference.repository}:{self._reference.tag}"
            if name not in self._images._tags:
                raise RegistryError(f"no such tag: {name}")
            data = self._images._tags[name]
        return Descriptor(media_type=json.loads(data)["mediaType"], digest=of(data), size=len(data))

    def manifest(self, digest: Digest) -> tuple[str, bytes]:
        self._images.manifests += 1
        data = self._images._blobs[digest]
        return str(json.loads(data)["mediaType"]), data

    def blob(self, descriptor: Descriptor) -> BytesStream:
        if self._images.down:
            raise RegistryError("the registry is down")
        return BytesStream(self._images._blobs[descriptor.digest])
