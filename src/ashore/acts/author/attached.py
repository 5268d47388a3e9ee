# SPDX-License-Identifier: Apache-2.0
"""What refers to an image, on its way from one place to another, or new."""

from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from ashore.errors import InputError
from ashore.nouns.delta import ARTIFACT
from ashore.nouns.digest import Digest
from ashore.nouns.image import MANIFESTS, Descriptor
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, ImageWriter, ReferrerReader, ReferrerWriter, Stream
from ashore.rules.images.documents import parse_artifact


class Carried(StrEnum):
    """What of all that refers to an image comes along with it."""

    DELTAS = "deltas"
    """Ashore's own."""
    ALL = "all"
    NONE = "none"


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that refers to `subject`, its blobs, and how to open them."""

    subject: Digest
    descriptor: Descriptor
    data: bytes
    blobs: tuple[Descriptor, ...]
    open: Callable[[Descriptor], Stream]


def attached_to(reader: ImageReader, subject: Digest, carried: Carried, limits: Limits) -> Iterator[Attached]:
    """What refers to `subject`, as far as it is `carried`.

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
        media_type, data = reader.manifest(found.digest)
        manifest = parse_artifact(media_type, data, f"{found.digest}", limits)
        if manifest.subject is not None and manifest.subject.digest == subject:
            blobs = (manifest.config, *manifest.layers)
            yield Attached(subject=subject, descriptor=found, data=data, blobs=blobs, open=reader.blob)


def put(attached: Attached, writer: ImageWriter) -> None:
    """Store it with its blobs.

    Raises:
        InputError: what `writer` writes to holds images alone.
        RegistryError, UnchangedError: as the writer has it.
    """
    if not isinstance(writer, ReferrerWriter):
        raise InputError("a docker-archive holds nothing beside its image", remedy="use oci: or oci-archive:")
    for blob in attached.blobs:
        if not writer.has_blob(blob):
            stream = attached.open(blob)
            try:
                writer.put_blob(blob, stream)
            finally:
                stream.close()
    writer.put_referrer(attached.subject, attached.descriptor, attached.data)
