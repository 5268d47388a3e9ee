# SPDX-License-Identifier: Apache-2.0
"""The host's policy.json, which says what its owner admits, whoever asks; and what it asks for, read."""

import functools
from collections.abc import Callable, Sequence

from ashore.acts.fetch.signatures import signatures_of
from ashore.errors import InputError, VerificationError, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.ifthere import read_if_there
from ashore.mechanisms.images.transports import resolved
from ashore.nouns.config import POLICY_PATH
from ashore.nouns.digest import Digest
from ashore.nouns.files import printable
from ashore.nouns.image import Image, VerifiedImage
from ashore.nouns.limits import KIB, Limits
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference
from ashore.nouns.signature import Signature
from ashore.rules.images.policy import Policy, parse_policy
from ashore.rules.images.verify import Demand, Evidence, demanded, unjudged, verify

_KEY = 64 * KIB


def policy_of(host: Beneath, limits: Limits) -> Policy | None:
    """None only where there is no such name: a policy that cannot be read must not admit everything.

    Raises:
        InputError: it cannot be read, or is malformed.
    """
    try:
        data = read_if_there(host, POLICY_PATH, limits.manifest)
    except OSError as error:
        raise InputError(f"cannot read {POLICY_PATH}", cause=error.strerror or "") from error
    return None if data is None else parse_policy(data, POLICY_PATH)


Beside = Callable[[], tuple[ImageReader, Sequence[Digest]] | None]
"""Where the signatures of an image are, and the digests that vouch for it there. None: no signature is asked for."""


def demand_of(host: Beneath, reference: ImageReference, limits: Limits) -> Demand | None:
    """What the policy of `host` asks of images of that name; None where there is no policy.

    Raises:
        InputError: as `policy_of`.
        VerificationError: it rejects them, or asks for what cannot be checked.
    """
    policy = policy_of(host, limits)
    return None if policy is None else demanded(resolved(reference), policy)


def admitted(image: Image, reference: ImageReference, beside: Beside, host: Beneath, limits: Limits) -> VerifiedImage:
    """`image`, if the policy of `host` admits it under the name `reference`, and as it is signed.

    Raises:
        InputError: as `policy_of`.
        VerificationError: it is not admitted.
        RegistryError: a signature is asked for, and nobody answers.
    """
    demand = demand_of(host, reference, limits)
    if demand is None:
        return unjudged(image)
    at = beside() if demand.signed else None
    return verify(image, resolved(reference), demand, None if at is None else _evidence(*at, host, limits))


def admitted_below(
    root: str, image: Image, reference: ImageReference, reader: ImageReader, limits: Limits
) -> VerifiedImage:
    """As `admitted`, with the policy of the host at `root`."""
    with Beneath(root) as host:
        return admitted(image, reference, lambda: (reader, image.named), host, limits)


def _evidence(reader: ImageReader, named: Sequence[Digest], host: Beneath, limits: Limits) -> Evidence:
    """Keys of `host`, and signatures from `reader`: each read once, and only if it is asked for."""

    @functools.cache
    def signatures(subject: Digest) -> tuple[Signature, ...]:
        return tuple(signatures_of(subject, reader, limits))

    return Evidence(key=functools.partial(_key, host), named=named, signatures=signatures)


def _key(host: Beneath, path: str) -> bytes:
    try:
        if not path.startswith("/") or "\0" in path:
            raise OSError("it is no absolute path")
        return host.read_bytes(path.lstrip("/"), _KEY)
    except OSError as error:
        raise VerificationError(
            f"the key {printable(path[:500])} cannot be read",
            cause=f"policy.json asks for a signature of it: {words_of(error)}",
            remedy="put the public key there",
        ) from error
