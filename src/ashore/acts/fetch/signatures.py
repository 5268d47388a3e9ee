# SPDX-License-Identifier: Apache-2.0
"""The signatures that lie beside an image, under a tag of their own, wherever the image is."""

from collections.abc import Iterator

from ashore.errors import InputError, VerificationError
from ashore.mechanisms.images.streams import read_all
from ashore.nouns.digest import Digest
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader, ReferrerReader
from ashore.nouns.signature import SIGNATURE_ANNOTATION, SIGNATURE_LAYER, Signature, signatures_tag
from ashore.rules.images.documents import parse_artifact


def signatures_of(subject: Digest, reader: ImageReader, limits: Limits) -> Iterator[Signature]:
    """The signatures of the manifest or index `subject`, as far as the limits allow; of the other things there, none.

    Raises:
        RegistryError: nobody answers.
        VerificationError: what lies there is not what it was given as.
    """
    if not isinstance(reader, ReferrerReader):
        return  # a docker-archive
    tag = signatures_tag(subject)
    try:
        top = reader.tagged(tag)
        if top is None:
            return
        manifest = parse_artifact(*reader.manifest(top.digest), tag, limits)
        layers = [layer for layer in manifest.layers if layer.media_type == SIGNATURE_LAYER]
        for layer in layers[: limits.signatures]:
            if layer.size <= limits.payload and (text := layer.annotations.get(SIGNATURE_ANNOTATION)):
                payload = read_all(reader.blob(layer), limit=limits.payload, name=f"{tag}: {layer.digest}")
                yield Signature(payload, text)
    except InputError as error:
        raise VerificationError(f"the tag {tag} holds no signatures", cause=str(error)) from error
