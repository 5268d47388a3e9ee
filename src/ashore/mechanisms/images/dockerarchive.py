# SPDX-License-Identifier: Apache-2.0
"""Archives as ``docker save`` makes them, read as OCI images and written from them.

Their layers are plain tar files, so a layer's digest is its diff_id. Source: moby, image/spec/spec.md,
"Combined Image JSON + Filesystem Changeset Format"; containers-transports(5), "docker-archive:".
"""

import contextlib
import hashlib
import os
import tempfile

import msgspec

from ashore.errors import NOT_DECODED, InputError, UsageError
from ashore.mechanisms.durable import write_all
from ashore.mechanisms.images.archive import TarFileWriter
from ashore.mechanisms.images.blobfiles import ArchiveFiles, FilePart
from ashore.mechanisms.images.compression import open_layer
from ashore.mechanisms.images.layout import read_document
from ashore.mechanisms.images.streams import BytesStream, CountedHashed, pipe, read_all
from ashore.mechanisms.newfile import write_fault
from ashore.nouns.digest import Digest, hex_of, of, of_hash
from ashore.nouns.files import printable
from ashore.nouns.image import (
    DOCKER_CONFIG,
    INDEXES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
)
from ashore.nouns.limits import Limits
from ashore.nouns.ports import Stream
from ashore.nouns.reference import ImageReference, parse

_LIST_NAME = "manifest.json"
_MAGIC = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}


class _Saved(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


class DockerArchiveReader:
    """`ports.ImageReader` that makes up the manifest which the archive does not have."""

    def __init__(self, files: ArchiveFiles, reference: ImageReference, limits: Limits) -> None:
        self._files, self._reference, self._limits = files, reference, limits
        self._names: dict[Digest, str] = {}
        self._made = b""

    def resolve(self) -> Descriptor:
        if not self._made:
            self._made = msgspec.json.encode(self._manifest())
        return Descriptor(media_type=OCI_MANIFEST, digest=of(self._made), size=len(self._made))

    def manifest(self, digest: Digest) -> tuple[str, bytes]:
        if self.resolve().digest != digest:
            raise InputError(f"{self._reference} has no manifest {digest}")
        return OCI_MANIFEST, self._made

    def blob(self, descriptor: Descriptor) -> Stream:
        source, _ = self._files.open(self._names.get(descriptor.digest, str(descriptor.digest)))
        name = f"{self._files.place}: blob {descriptor.digest}"
        return CountedHashed(source, digest=descriptor.digest, size=descriptor.size, name=name)

    def _manifest(self) -> Manifest:
        saved = self._saved()
        source, size = self._files.open(saved.config)
        data = read_all(source, limit=self._limits.manifest, name=f"{self._files.place}: {printable(saved.config)}")
        try:
            diff_ids = msgspec.json.decode(data, type=ImageConfig).rootfs.diff_ids
        except NOT_DECODED as error:
            raise InputError(f"{self._files.place}: the image's config is malformed", cause=str(error)) from error
        if len(diff_ids) > self._limits.layers:  # before one of them is read
            raise InputError(f"{self._files.place}: {len(diff_ids)} layers, more than {self._limits.layers}")
        if len(diff_ids) != len(saved.layers):
            raise InputError(f"{self._files.place}: {len(saved.layers)} layers, but {len(diff_ids)} in the config")
        config = Descriptor(media_type=OCI_CONFIG, digest=of(data), size=size)
        self._names[config.digest] = saved.config
        layers = tuple(self._layer(name, diff_id) for name, diff_id in zip(saved.layers, diff_ids, strict=True))
        return Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=layers)

    def _saved(self) -> _Saved:
        images = read_document(self._files, _LIST_NAME, list[_Saved], self._limits)
        tag = self._reference.tag
        wanted = _full(tag)
        named = [image for image in images if not tag or wanted in map(_full, image.repo_tags or ())]
        if len(named) == 1:
            return named[0]
        tags = sorted(tag for image in images for tag in image.repo_tags or ())
        raise InputError(
            f"{self._reference} names {len(named) or 'no'} images",
            cause=f"the archive has {printable(', '.join(tags)[:500]) or 'no names'}",
            remedy="" if tag else f"write docker-archive:{self._reference.place}:NAME:TAG",
        )

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        source, size = self._files.open(name)
        start, hashed = bytearray(2), hashlib.sha256()
        try:
            source.readinto(start)
            suffix = _MAGIC.get(bytes(start), "")
            digest = diff_id
            if suffix:  # some tools compress what they save
                hashed.update(start)
                pipe(source, hashed.update)
                digest = of_hash(hashed)
        finally:
            source.close()
        self._names[digest] = name
        return Descriptor(media_type=OCI_LAYER + suffix, digest=digest, size=size)


def _full(name: str) -> str:
    """A name with all that Docker leaves out: docker saves ``x/y:1`` as it is, skopeo as ``docker.io/x/y:1``."""
    try:
        return str(parse(name))
    except InputError:
        return name  # it can only be the same


def loadable(name: str) -> str:
    """`name` as docker loads it: with a tag; empty for no name.

    Raises:
        UsageError: docker would not load it.
    """
    if not name:
        return ""
    try:
        found = parse(f"docker://{name}")
    except InputError as error:
        raise UsageError(f"docker loads no image named {printable(name)!r}", cause=error.cause) from error
    if found.digest:
        raise UsageError(f"docker loads no image named {printable(name)!r}", cause="a digest is what comes out")
    return name if ":" in name.rpartition("/")[2] else f"{name}:{found.tag}"


class DockerArchiveWriter:
    """`ports.ImageWriter` of one image: there once its manifest was put. Layers are unpacked on the way."""

    def __init__(self, file: TarFileWriter, name: str, limits: Limits) -> None:
        self._file, self._name, self._limits = file, name, limits
        """The name as `loadable` has it."""
        self._layers: dict[Digest, str] = {}

    def has_blob(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._layers

    def put_blob(self, descriptor: Descriptor, stream: Stream) -> None:
        if descriptor.media_type in {OCI_CONFIG, DOCKER_CONFIG}:
            name = f"{hex_of(descriptor.digest)}.json"
            self._file.add(name, descriptor.size, stream)
        else:
            name = self._unpack(descriptor, stream)
        self._layers[descriptor.digest] = name

    def put_manifest(self, media_type: str, data: bytes, *, named: bool) -> Digest:
        if media_type in INDEXES or not named:
            raise InputError("a docker-archive holds one image, not an index", remedy="choose one with --platform")
        manifest = msgspec.json.decode(data, type=Manifest)
        tags = [self._name] if self._name else []
        saved = {
            "Config": self._layers[manifest.config.digest],
            "RepoTags": tags,
            "Layers": [self._layers[layer.digest] for layer in manifest.layers],
        }
        text = msgspec.json.encode([saved])
        self._file.add(_LIST_NAME, len(text), BytesStream(text))
        self._file.finish()
        return of(data)

    def _unpack(self, descriptor: Descriptor, stream: Stream) -> str:
        """A member's size stands before its bytes, so they are written aside first."""
        layer = open_layer(stream, descriptor.media_type, self._limits, None)
        hashed = hashlib.sha256()
        with write_fault("the layer's temporary file"), tempfile.TemporaryFile(buffering=0) as aside:

            def write(block: memoryview) -> None:
                hashed.update(block)
                write_all(aside.fileno(), block)

            pipe(layer, write)
            name = f"{hashed.hexdigest()}.tar"
            if name not in self._file.names:
                with contextlib.closing(FilePart(os.dup(aside.fileno()), 0, layer.count)) as whole:
                    self._file.add(name, layer.count, whole)
        return name
