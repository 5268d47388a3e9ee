# SPDX-License-Identifier: Apache-2.0
"""The signatures that lie beside an image, under a tag of their own, wherever the image is."""

import itertools
from collections.abc import Iterator

import msgspec

from ashore.errors import InputError, VerificationError
from ashore.mechanisms.images.streams import read_all
from ashore.nouns.digest import Digest
from ashore.nouns.image import Descriptor
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
        if (top := reader.tagged(tag)) is None:
            return
        # There may be many, of others or of no use: what they are counts, and not how many.
        many = msgspec.structs.replace(limits, layers=limits.index_manifests)
        manifest = parse_artifact(*reader.manifest(top.digest), tag, many)
        of_use = (layer for layer in manifest.layers if _is_signature(layer) and layer.size <= limits.payload)
        for layer in itertools.islice(of_use, limits.signatures):
            payload = read_all(reader.blob(layer), limit=limits.payload, name=f"{tag}: {layer.digest}")
            yield Signature(payload, layer.annotations[SIGNATURE_ANNOTATION])
    except InputError as error:
        message = f"the tag {tag} holds no signatures"
        raise VerificationError(message, cause=str(error), remedy="sign the image anew") from error


def _is_signature(layer: Descriptor) -> bool:
    return layer.media_type == SIGNATURE_LAYER and bool(layer.annotations.get(SIGNATURE_ANNOTATION))
