# SPDX-License-Identifier: Apache-2.0
"""OCI image layouts: a folder with ``oci-layout``, ``index.json`` and blobs, or the same in a tar archive.

Source: OCI image-spec, image-layout.md; containers-transports(5), "oci:" and "oci-archive:".
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from ashore.errors import NOT_DECODED, InputError
from ashore.mechanisms import durable
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.images.blobfiles import BlobFiles, FolderFiles
from ashore.mechanisms.images.streams import DAMAGED, BytesStream, CountedHashed, pipe, read_all
from ashore.mechanisms.newfile import NewFile, write_fault
from ashore.nouns import strictjson
from ashore.nouns.digest import Digest, hex_of, of
from ashore.nouns.files import printable
from ashore.nouns.image import OCI_INDEX, OCI_MANIFEST, Descriptor, Index, Referrers, referrers_tag
from ashore.nouns.limits import Limits
from ashore.nouns.ports import Stream
from ashore.nouns.reference import ImageReference

T = TypeVar("T")

REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_NAME, INDEX_NAME = "oci-layout", "index.json"
_BESIDE = re.compile(r"sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?")
"""Tags of what is beside an image: an index of referrers, and what cosign puts there."""
_KIND = "kind"
_SAVED = {".sig": "dev.cosignproject.cosign/sigs", ".att": "dev.cosignproject.cosign/atts"}
"""Which entries those are that `cosign save` gives no tag, by the end of the tag that they had."""
LAYOUT_TEXT = b'{"imageLayoutVersion":"1.0.0"}'


class _Shape(msgspec.Struct, rename="camel"):
    media_type: str = ""
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Refers(msgspec.Struct):
    subject: Descriptor | None = None


class _Version(msgspec.Struct, rename="camel"):
    image_layout_version: str


class LayoutReader:
    """`ports.ImageReader` of the image that a reference names in a layout."""

    def __init__(self, files: BlobFiles, reference: ImageReference, limits: Limits) -> None:
        self._files, self._reference, self._limits = files, reference, limits

    def resolve(self) -> Descriptor:
        """What the reference names: by digest, by tag, or the only one there is."""
        index = self._index()
        wanted, tag = self._reference.digest, self._reference.tag
        if wanted:
            media_type, data = self.manifest(wanted)
            return Descriptor(media_type=media_type, digest=wanted, size=len(data))
        named = [e for e in index.manifests if (_tag(e) == tag if tag else not is_referrer(e))]
        if len({entry.digest for entry in named}) == 1:
            return named[0]
        raise InputError(
            f"{self._reference} names {'no image' if not named else f'{len(named)} images'}",
            cause=f"the layout has {_listed(index)}",
            remedy=f"write {self._reference.transport}:{self._reference.place}:TAG" if not tag else "",
        )

    def manifest(self, digest: Digest) -> tuple[str, bytes]:
        source, size = self._files.open(blob_name(digest))
        name = f"{self._files.place}: manifest {digest}"
        checked = CountedHashed(source, digest=digest, size=size, name=name)
        data = read_all(checked, limit=self._limits.manifest, name=name)
        return media_type_of(data, f"{self._reference}: manifest {digest}"), data

    def blob(self, descriptor: Descriptor) -> Stream:
        source, _ = self._files.open(blob_name(descriptor.digest))
        name = f"{self._files.place}: blob {descriptor.digest}"
        return CountedHashed(source, digest=descriptor.digest, size=descriptor.size, name=name)

    def referrers(self, subject: Digest, *, artifact_type: str = "", by_tag: bool = False) -> Referrers:
        """What refers to `subject`: in the index without a tag, or in an index under the subject's tag."""
        entries = self._index().manifests
        asked = [e for e in entries if e.artifact_type and artifact_type in ("", e.artifact_type)]
        found = {e.digest: e for e in asked if self._subject(e) == subject}
        for index in (e for e in entries if _tag(e) == referrers_tag(subject)):
            document = _decoded(self.manifest(index.digest)[1], Index, f"{self._files.place}: {index.digest}")
            found |= {entry.digest: entry for entry in document.manifests}
        kept = (e for e in found.values() if artifact_type in ("", e.artifact_type))
        return Referrers(found=tuple(kept)[: self._limits.referrers])

    def tagged(self, tag: str) -> Descriptor | None:
        """What another tag names; None where there is none, or it names several.

        What `cosign save` wrote has no tags: its signatures are those of the only image.
        """
        index, saved = self._index().manifests, _SAVED.get(tag[-4:])
        named = {entry.digest: entry for entry in index if _tag(entry) == tag}
        images = {entry.digest for entry in index if not is_referrer(entry)}
        if saved and not named and {referrers_tag(image) for image in images} == {tag[:-4]}:
            named = {entry.digest: entry for entry in index if entry.annotations.get(_KIND) == saved}
        return named.popitem()[1] if len(named) == 1 else None

    def _subject(self, entry: Descriptor) -> Digest | None:
        manifest = _decoded(self.manifest(entry.digest)[1], _Refers, f"{self._files.place}: {entry.digest}")
        return manifest.subject.digest if manifest.subject else None

    def _index(self) -> Index:
        version = read_document(self._files, LAYOUT_NAME, _Version, self._limits)
        if version.image_layout_version != "1.0.0":
            raise InputError(f"{self._files.place} is a layout of version {version.image_layout_version[:20]!r}")
        return read_document(self._files, INDEX_NAME, Index, self._limits)


class LayoutWriter:
    """`ports.ImageWriter` into a folder, which is made if need be."""

    def __init__(self, path: str, tag: str, limits: Limits) -> None:
        self._path, self._tag, self._limits = path, tag, limits
        self._blobs = os.path.join(path, "blobs", "sha256")

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether it is there, by name and size; its digest is checked when it is read."""
        try:
            return os.stat(os.path.join(self._blobs, hex_of(descriptor.digest))).st_size == descriptor.size
        except OSError:
            return False

    def put_blob(self, descriptor: Descriptor, stream: Stream) -> None:
        with write_fault(self._path):
            os.makedirs(self._blobs, exist_ok=True)
            with NewFile(self._blobs, hex_of(descriptor.digest)) as file:
                pipe(stream, file.write)
                file.commit()

    def put_manifest(self, media_type: str, data: bytes, *, named: bool) -> Digest:
        descriptor = Descriptor(media_type=media_type, digest=of(data), size=len(data))
        if not self.has_blob(descriptor):
            self.put_blob(descriptor, BytesStream(data))
        if named:
            self._name(descriptor)
        return descriptor.digest

    def put_referrer(self, subject: Digest, descriptor: Descriptor, data: bytes) -> None:
        """Store a manifest that refers to `subject`; it stands in the index without a tag."""
        self.put_manifest(descriptor.media_type, data, named=False)
        self._change_index(lambda present: index_of((*(e for e in present if e != descriptor), descriptor)))

    def there_tagged(self, tag: str) -> bytes | None:
        """What another tag names, empty where it names several; None where there is none."""
        named = {entry.digest for entry in self._present() if _tag(entry) == tag}
        if len(named) != 1:
            return b"" if named else None
        source, _ = FolderFiles(self._path).open(blob_name(named.pop()))
        return read_all(source, limit=self._limits.manifest, name=f"{self._path}: {tag}")

    def put_tagged(self, tag: str, media_type: str, data: bytes) -> None:
        """Store a manifest under another tag."""
        self.put_manifest(media_type, data, named=False)
        descriptor = Descriptor(media_type=media_type, digest=of(data), size=len(data))
        self._change_index(lambda present: named_index(present, descriptor, tag))

    def _name(self, descriptor: Descriptor) -> None:
        self._change_index(lambda present: named_index(present, descriptor, self._tag))

    def _change_index(self, change: Callable[[tuple[Descriptor, ...]], Index]) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with write_fault(self._path), closing(os.open(self._path, flags)) as folder:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(folder, fcntl.LOCK_EX)  # another build or pull may name its image at the same time
            index = change(self._present())
            durable.replace(folder, LAYOUT_NAME, LAYOUT_TEXT, mode=0o644)
            durable.replace(folder, INDEX_NAME, msgspec.json.encode(index), mode=0o644)

    def _present(self) -> tuple[Descriptor, ...]:
        if not os.path.lexists(os.path.join(self._path, INDEX_NAME)):
            return ()
        return read_document(FolderFiles(self._path), INDEX_NAME, Index, self._limits).manifests


def named_index(present: tuple[Descriptor, ...], descriptor: Descriptor, tag: str) -> Index:
    """An index.json in which `tag`, or where it is empty the image without one, is `descriptor`."""
    kept = tuple(entry for entry in present if _tag(entry) != tag or (not tag and is_referrer(entry)))
    annotations = {REF_NAME: tag} if tag else {}
    added = msgspec.structs.replace(descriptor, annotations=annotations)
    return index_of((*kept, added))


def index_of(entries: tuple[Descriptor, ...]) -> Index:
    """An index.json with these entries."""
    return Index(schema_version=2, media_type=OCI_INDEX, manifests=entries)


def is_referrer(entry: Descriptor) -> bool:
    """Whether an entry of an index.json stands there only because it belongs to an image."""
    kind = entry.annotations.get(_KIND, "")
    return bool(entry.artifact_type) or _BESIDE.fullmatch(_tag(entry)) is not None or kind in _SAVED.values()


def tags_in(files: BlobFiles, limits: Limits) -> set[str]:
    """The names of the images of a layout.

    Raises:
        InputError: it is none.
    """
    index = read_document(files, INDEX_NAME, Index, limits)
    return {_tag(entry) for entry in index.manifests if not is_referrer(entry)} - {""}


def read_document(files: BlobFiles, name: str, kind: type[T], limits: Limits) -> T:
    """A JSON file of a layout or archive.

    Raises:
        InputError: it is missing, too large or malformed.
    """
    place = f"{files.place}: {name}"
    source, _ = files.open(name)
    return _decoded(read_all(source, limit=limits.manifest, name=place), kind, place)


def _decoded(data: bytes, kind: type[T], place: str) -> T:
    try:
        return msgspec.convert(strictjson.loads(data), kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputError(f"{place} is malformed", cause=str(error), remedy=DAMAGED) from error


def blob_name(digest: Digest) -> str:
    """Where a layout keeps a blob."""
    return f"blobs/sha256/{hex_of(digest)}"


def media_type_of(data: bytes, where: str) -> str:
    """A manifest's or index's own word; where it has none, what it looks like. `where` is how messages name it.

    Raises:
        InputError: it is not a JSON object.
    """
    try:
        shape = msgspec.json.decode(data, type=_Shape)
    except NOT_DECODED as error:
        raise InputError(f"{where} is malformed", cause=str(error)) from error
    return shape.media_type or (OCI_MANIFEST if shape.manifests is msgspec.UNSET else OCI_INDEX)


def _tag(entry: Descriptor) -> str:
    return entry.annotations.get(REF_NAME, "")


def _listed(index: Index) -> str:
    tags = sorted(_tag(entry) or f"(without a tag) {entry.digest}" for entry in index.manifests)
    return printable(", ".join(tags)[:500]) or "none"
