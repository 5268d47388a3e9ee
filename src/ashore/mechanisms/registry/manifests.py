# SPDX-License-Identifier: Apache-2.0
"""What a registry says of a manifest, held against the manifest itself."""

import msgspec

from ashore.errors import NOT_DECODED, InputError, VerificationError
from ashore.mechanisms.registry.failures import NotFoundError
from ashore.mechanisms.registry.messages import Response
from ashore.mechanisms.registry.registries import Source
from ashore.nouns.digest import of
from ashore.nouns.files import printable
from ashore.nouns.image import INDEXES, MANIFESTS
from ashore.nouns.reference import ImageReference

ACCEPT = {"Accept": ", ".join((*INDEXES[:1], *MANIFESTS[:1], *INDEXES[1:], *MANIFESTS[1:]))}
"""All that ashore reads, OCI's first."""


class _Typed(msgspec.Struct, rename="camel"):
    media_type: str = ""


def media_type(answer: Response, data: bytes, reference: ImageReference) -> str:
    """The header's media type; the document must not contradict it, and says it where the header is vague.

    Raises:
        InputError, VerificationError: it is no image's, or the headers are those of another document.
    """
    said = answer.header("Content-Type").partition(";")[0].strip().lower()
    written = ""
    if data:
        try:
            written = msgspec.json.decode(data, type=_Typed).media_type
        except NOT_DECODED:
            remedy = "check that this is a registry (OCI, or Docker v2), and not a page that asks for a login"
            raise InputError(f"the manifest of {reference} is not JSON", remedy=remedy) from None
        digest = answer.header("Docker-Content-Digest")
        if digest.startswith("sha256:") and digest != of(data):
            raise not_as_named(printable(digest[:100]), of(data))
    if said in ("", "application/json", "application/octet-stream", "text/plain"):
        said = written
    if written and written != said:
        cause = f"the registry calls it {printable(said[:100])}, it calls itself {printable(written[:100])}"
        raise VerificationError(f"the manifest of {reference} contradicts its media type", cause=cause)
    if said not in (*MANIFESTS, *INDEXES):
        raise InputError(
            f"{reference} is not an image",
            cause=f"its media type is {printable(said[:100]) or 'missing'}",
            remedy="ashore reads OCI and Docker (schema 2) images",
        )
    return said


def missing(reference: ImageReference, name: str, source: Source) -> NotFoundError:
    place = f"{source.host}/{source.repository}"
    if ":" in name:
        return NotFoundError(f"{place} has no manifest {name}", remedy="it may have been deleted; check the name")
    remedy = f"check the name and the tag; skopeo list-tags docker://{place} shows the tags there are"
    return NotFoundError(f"{place} has no tag {name}", cause=f"looked for {reference}", remedy=remedy)


def not_as_named(wanted: str, digest: str, at: str = "") -> VerificationError:
    remedy = "the registry, or something on the way to it, changed it: nothing of it is used"
    message = f"the manifest {wanted}{at} is not what was asked for"
    return VerificationError(message, cause=f"it is {digest}", remedy=remedy)
