# SPDX-License-Identifier: Apache-2.0
"""An image that a host asks for: pinned, and admitted by the host's policy, or not."""

from collections.abc import Sequence

from ashore.acts.fetch.fetch import resolve_image
from ashore.acts.fetch.policy import admitted
from ashore.acts.tools import Tools
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

    Of what the host has, or had, from there no signature is asked for again: `is_installed`, or seen by its record.

    Raises:
        InputError, RegistryError, VerificationError: as `admitted`.
    """

    def beside() -> tuple[ImageReader, Sequence[Digest]]:
        # Signatures are where the image is; of one that was brought in a layout, where its name is.
        if judged.transport is reference.transport:
            return reader, image.named
        there, named = resolve(tools, judged)
        return there, named.named if named.manifest_digest == image.manifest_digest else image.named

    return admitted(
        image,
        judged,
        beside,
        tools.host,
        tools.limits,
        is_installed=lambda: is_installed or _is_installed(tools, image, judged),
    )


def _is_installed(tools: Tools, image: Image, judged: ImageReference) -> bool:
    """Whether this host has the image from the same repository, layout or archive."""
    place = (judged.transport, judged.place, judged.repository)
    return any(
        record.manifest_digest == image.manifest_digest and (had.transport, had.place, had.repository) == place
        for record in tools.history.current().bundles
        for had in (parse(record.reference),)
    )
