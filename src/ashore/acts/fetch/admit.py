# SPDX-License-Identifier: Apache-2.0
"""An image that a host asks for: pinned, and admitted by the host's policy, or not."""

from collections.abc import Sequence

import msgspec

from ashore.acts.fetch.fetch import resolve_image
from ashore.acts.fetch.policy import admitted
from ashore.acts.tools import Tools
from ashore.errors import InputError, VerificationError
from ashore.mechanisms.registry.failures import NotFoundError
from ashore.nouns.digest import Digest
from ashore.nouns.image import Image, VerifiedImage
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference, parse


def resolve(tools: Tools, reference: ImageReference) -> tuple[ImageReader, Image]:
    """Open a reference and pin it for this host's platform."""
    reader = tools.open_image(reference)
    known = tools.resolved.pop(reference, None)
    return reader, resolve_image(reader, reference, tools.platform(), tools.limits, known)


def admit(
    tools: Tools,
    image: Image,
    reader: ImageReader,
    reference: ImageReference,
    judged: ImageReference,
    *,
    is_installed: bool = False,
) -> VerifiedImage:
    """`image`, which came by `reference`, if it may be here by the name `judged`.

    No signature is asked for where `is_installed`: the host has it, or had it, by that name; or its record says so.

    Raises:
        InputError, RegistryError, VerificationError: as `admitted`.
    """
    brought = judged.transport is not reference.transport
    pinned = judged.digest if brought else None
    if pinned and pinned not in image.named and pinned not in _at(tools, judged, image)[1]:
        raise VerificationError(f"{judged} was asked for", cause=f"{image.digest} came")

    def beside() -> tuple[ImageReader, Sequence[Digest]] | None:
        if is_installed or _is_installed(tools, image, judged):
            return None
        # Signatures are where the image is; of one that was brought in a layout, where its name is.
        return _at(tools, judged, image) if brought else (reader, image.named)

    return admitted(image, judged, beside, tools.host, tools.limits)


def _at(tools: Tools, name: ImageReference, image: Image) -> tuple[ImageReader, Sequence[Digest]]:
    """Where `name` is, and what vouches for `image` there: no more than its own digests where another is named now."""
    try:
        reader, there = resolve(tools, name)
    except (NotFoundError, InputError):  # its tag is gone, or names an image for others
        return tools.open_image(name), image.named
    return reader, there.named if there.manifest_digest == image.manifest_digest else image.named


def _is_installed(tools: Tools, image: Image, judged: ImageReference) -> bool:
    """Whether the host has this very image by that name, whatever digest was written beside it."""
    name = msgspec.structs.replace(judged, digest=None)
    return any(
        (record.digest, record.manifest_digest) == (image.digest, image.manifest_digest)
        and msgspec.structs.replace(parse(record.reference), digest=None) == name
        for record in tools.history.current().bundles
    )
