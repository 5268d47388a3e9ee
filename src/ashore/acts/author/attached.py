# SPDX-License-Identifier: Apache-2.0
"""What refers to an image, on its way from one place to another, or new."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial

import msgspec

from ashore.errors import NOT_DECODED, AshoreError, ElsewhereError, InputError, RegistryError
from ashore.mechanisms.images.layout import REF_NAME
from ashore.nouns.delta import ARTIFACT
from ashore.nouns.digest import Digest, of
from ashore.nouns.image import MANIFESTS, Descriptor, Manifest
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, ImageWriter, ReferrerReader, ReferrerWriter, Stream
from ashore.nouns.signature import tags_beside
from ashore.rules.images.documents import parse_artifact


class Carried(StrEnum):
    """What of all that refers to an image comes along with it."""

    DELTAS = "deltas"
    """Ashore's own."""
    ALL = "all"
    NONE = "none"


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that belongs to `subject`, its blobs, and how to open them.

    It refers to the subject, or lies under a `tag` that is named like it.
    """

    subject: Digest
    descriptor: Descriptor
    data: bytes
    blobs: tuple[Descriptor, ...]
    open: Callable[[Descriptor], Stream]
    tag: str = ""


class UnreadableError(AshoreError):
    """What refers to an image cannot be read where it is: `error` says why. No fault of where it goes."""

    def __init__(self, error: AshoreError) -> None:
        super().__init__(error.message, cause=error.cause, remedy=error.remedy, issues=error.issues)
        self.error = error


class _Read:
    """A stream whose errors are the reader's, whoever else has a part in the copy."""

    def __init__(self, source: Stream) -> None:
        self._source = source
        self.close = source.close

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        try:
            return self._source.readinto(buffer)
        except ElsewhereError:
            raise
        except AshoreError as error:
            raise UnreadableError(error) from error


def _opened(reader: ImageReader, descriptor: Descriptor) -> Stream:
    try:
        return _Read(reader.blob(descriptor))
    except AshoreError as error:
        raise UnreadableError(error) from error


Lost = Callable[[Descriptor, AshoreError], None]
"""Is told what cannot be read, and why."""


def attached_to(
    reader: ImageReader, subject: Digest, carried: Carried, limits: Limits, lost: Lost | None = None
) -> Iterator[Attached]:
    """What refers to `subject`, as far as it is `carried`. With `lost`, one that cannot be read is passed over.

    Raises:
        InputError: one of them is malformed.
        RegistryError, VerificationError: as the reader has it.
    """
    if carried is Carried.NONE or not isinstance(reader, ReferrerReader):
        return
    kind = ARTIFACT if carried is Carried.DELTAS else ""
    for found in reader.referrers(subject, artifact_type=kind).found:
        if kind not in ("", found.artifact_type) or found.media_type not in MANIFESTS:
            continue
        try:
            one = _attached(reader, subject, found, limits)
        except AshoreError as error:
            if lost is None:
                raise
            lost(found, error)
            continue
        if one is not None:
            yield one
    if carried is Carried.ALL:
        yield from _tagged(reader, subject, limits)


def _attached(reader: ReferrerReader, subject: Digest, found: Descriptor, limits: Limits) -> Attached | None:
    """None where the manifest itself says that it is of another image, or of another type than the list said.

    Nobody vouches for the list: of what it says, nothing but the digest goes along.
    """
    media_type, data = reader.manifest(found.digest)
    manifest = parse_artifact(media_type, data, f"{found.digest}", limits)
    descriptor = described(media_type, data, manifest)
    if manifest.subject is None or manifest.subject.digest != subject or not descriptor.artifact_type:
        return None
    if found.artifact_type not in ("", descriptor.artifact_type):
        return None
    return _whole(reader, subject, descriptor, data, manifest)


def _tagged(reader: ReferrerReader, subject: Digest, limits: Limits) -> Iterator[Attached]:
    """What cosign put beside `subject`, each thing under a tag of its own."""
    for tag in tags_beside(subject):
        try:
            descriptor = reader.tagged(tag)
        except RegistryError as error:
            message = f"cannot look for the tag {tag}, for signatures and the like: {error.message}"
            remedy = error.remedy or "--referrers deltas does without"
            raise RegistryError(message, cause=error.cause, remedy=remedy) from error
        if descriptor is not None:
            media_type, data = reader.manifest(descriptor.digest)
            manifest = parse_artifact(media_type, data, tag, limits)
            yield _whole(reader, subject, descriptor, data, manifest, tag=tag)


def _whole(
    reader: ReferrerReader, subject: Digest, descriptor: Descriptor, data: bytes, manifest: Manifest, tag: str = ""
) -> Attached:
    blobs, opener = (manifest.config, *manifest.layers), partial(_opened, reader)
    return Attached(subject=subject, descriptor=descriptor, data=data, blobs=blobs, open=opener, tag=tag)


def described(media_type: str, data: bytes, manifest: Manifest) -> Descriptor:
    """How `data`, which is `manifest`, stands in a list of referrers.

    Source: OCI distribution-spec 1.1, "Listing Referrers". A name in a layout's index is not the manifest's to give.
    """
    return Descriptor(
        media_type=media_type,
        digest=of(data),
        size=len(data),
        artifact_type=manifest.artifact_type or manifest.config.media_type,
        annotations={key: value for key, value in manifest.annotations.items() if key != REF_NAME},
    )


def put(attached: Attached, writer: ImageWriter) -> None:
    """Store it with its blobs.

    Raises:
        InputError: what `writer` writes to holds images alone, or others' signatures would be lost there.
        UnreadableError: one of its blobs is not to be had.
        RegistryError, UnchangedError: as the writer has it.
    """
    if not isinstance(writer, ReferrerWriter):
        raise nothing_beside()
    if attached.tag and not _adds(attached, writer.there_tagged(attached.tag)):
        return
    for blob in attached.blobs:
        while not writer.has_blob(blob) and not _moved(attached, blob, writer):
            pass
    if attached.tag:
        writer.put_tagged(attached.tag, attached.descriptor.media_type, attached.data)
    else:
        writer.put_referrer(attached.subject, attached.descriptor, attached.data)


def nothing_beside() -> InputError:
    """For what takes images alone."""
    return InputError("a docker-archive holds nothing beside its image", remedy="use oci: or oci-archive:")


def _adds(attached: Attached, there: bytes | None) -> bool:
    """Whether what has a tag of its own brings something: of what others put under that tag nothing must get lost.

    Raises:
        InputError: it would.
    """
    if there is None:
        return True
    theirs, ours = _layers(there), _layers(attached.data)
    if theirs is not None and ours is not None and (theirs <= ours or ours <= theirs):
        return not ours <= theirs
    raise InputError(
        f"the tag {attached.tag} holds something else there than the source has, which would be lost",
        cause="others may have signed the image there",
        remedy="bring both together with cosign copy or skopeo copy, or copy with --referrers deltas",
    )


def _layers(data: bytes) -> frozenset[bytes] | None:
    """What a manifest names, each as it stands there; None where it is none."""
    try:
        return frozenset(msgspec.json.encode(layer, order="sorted") for layer in msgspec.json.decode(data)["layers"])
    except (*NOT_DECODED, LookupError, TypeError):
        return None


def _moved(attached: Attached, blob: Descriptor, writer: ImageWriter) -> bool:
    """Move a blob; False if it came wrong and is to be asked for once more, elsewhere."""
    stream = attached.open(blob)
    try:
        writer.put_blob(blob, stream)
    except ElsewhereError:
        return False
    finally:
        stream.close()
    return True
