# SPDX-License-Identifier: Apache-2.0
"""Signatures of images as cosign and skopeo keep them beside the image: an artifact under a tag of the repository.

Source: cosign's specification of signatures ("SIGNATURE_SPEC.md": tags, layers, annotations, payload), and
containers-registries.d(5), "use-sigstore-attachments".
"""

import msgspec

from ashore.nouns.digest import Digest
from ashore.nouns.image import referrers_tag

SIGNATURE_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"


class Signature(msgspec.Struct, frozen=True):
    """What was signed, byte for byte, and the signature in base64 as it was found: nothing of either is checked."""

    payload: bytes
    text: str


def signatures_tag(subject: Digest) -> str:
    """The tag beside an image that its signatures lie under."""
    return tags_beside(subject)[0]


def tags_beside(subject: Digest) -> tuple[str, ...]:
    """The tags of all that cosign puts beside an image: signatures first, then attestations and SBOMs."""
    return tuple(f"{referrers_tag(subject)}.{kind}" for kind in ("sig", "att", "sbom"))
