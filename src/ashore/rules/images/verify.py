# SPDX-License-Identifier: Apache-2.0
"""policy.json decides which images are admitted. The only place that makes a `VerifiedImage`.

What I/O that takes, reading keys and signatures, is its caller's: `Evidence`.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from ashore.errors import VerificationError
from ashore.nouns.digest import Digest
from ashore.nouns.files import printable
from ashore.nouns.image import Image, VerifiedImage
from ashore.nouns.reference import ImageReference, Transport
from ashore.nouns.signature import Signature, signatures_tag
from ashore.rules.images.policy import (
    Accept,
    ExactRepository,
    Identity,
    MatchRepository,
    Policy,
    Reject,
    SigstoreSigned,
    rules_for,
)
from ashore.rules.images.signatures import RefusedError, fits, public_key, signed_name

if TYPE_CHECKING:
    from ashore.rules.images.signatures import PublicKey

NO_POLICY = "no policy"
_OWNER = "what is admitted without, the host's owner decides in /etc/containers/policy.json"
_SHOWN = 3


class Evidence(msgspec.Struct, frozen=True):
    """Where keys and signatures are read, when a policy asks for them."""

    key: Callable[[str], bytes]
    """A key by its path; raises VerificationError where there is none."""
    named: Sequence[Digest]
    """Of which each vouches for the next, down to the image's manifest."""
    signatures: Callable[[Digest], Iterable[Signature]]
    """What lies beside one of those, unchecked."""


class Demand(msgspec.Struct, frozen=True):
    """The rule that admits images of a name; and the signatures that are asked for, each with the rule that does."""

    rule: str
    signed: tuple[tuple[str, SigstoreSigned], ...] = ()


def unjudged(image: Image) -> VerifiedImage:
    """`image`, where there is no policy: everything is admitted."""
    return VerifiedImage(image=image, policy=NO_POLICY)


def verify(image: Image, reference: ImageReference, demand: Demand, evidence: Evidence | None) -> VerifiedImage:
    """Admit `image` if it is signed as `demand` asks. Without `evidence` no signature is asked for.

    Raises:
        VerificationError: it is not, or a key cannot be used.
    """
    if evidence is not None:
        _check_signed(demand, reference, evidence)
    return VerifiedImage(image=image, policy=demand.rule)


def demanded(reference: ImageReference, policy: Policy) -> Demand:
    """What `policy` asks of images of that name.

    Raises:
        VerificationError: it rejects them, or asks for what ashore cannot check.
    """
    rules = rules_for(reference, policy)
    signed: list[tuple[str, SigstoreSigned]] = []
    for rule, requirements in rules:
        for requirement in requirements:
            if isinstance(requirement, Reject):
                raise VerificationError(
                    f"{reference} is rejected by policy.json",
                    cause=f"the rule {rule}",
                    remedy="the host's owner decides what is admitted, in /etc/containers/policy.json",
                )
            if isinstance(requirement, SigstoreSigned) and not requirement.unknown:
                signed.append((rule, requirement))
            elif not isinstance(requirement, Accept):
                what = requirement.unknown if isinstance(requirement, SigstoreSigned) else ""
                raise VerificationError(
                    f"{reference} cannot be verified",
                    cause=f"policy.json's rule {rule} asks for {requirement.__struct_config__.tag}"
                    f"{what and f' with {what}'}, which ashore cannot check",
                    remedy=f"check it by what can (podman, skopeo), or ask for sigstoreSigned with a key; {_OWNER}",
                )
    return Demand(rules[0][0], tuple(signed))


def _check_signed(demand: Demand, reference: ImageReference, evidence: Evidence) -> None:
    """Each demand must be met by a signature of one of the digests that vouch for the image."""
    for rule, requirement in demand.signed:
        reasons = _unmet(requirement, reference, evidence)
        if reasons is None:
            continue
        tags = ", ".join(map(signatures_tag, evidence.named))
        raise VerificationError(
            f"{reference} is not signed as policy.json's rule {rule} asks",
            cause=printable("; ".join(dict.fromkeys(reasons[:_SHOWN]))) or f"there is no signature: none of {tags}",
            remedy=f"{_remedy(reference)}; {_OWNER}",
        )


def _remedy(reference: ImageReference) -> str:
    if reference.transport is Transport.DOCKER_ARCHIVE:
        return "carry it as oci-archive: with --referrers all: a docker-archive holds no signatures"
    if reference.transport is not Transport.REGISTRY:
        return "copy it here with --referrers all from where it is signed"
    return "sign it with the key's other half (cosign sign --key, skopeo copy --sign-by-sigstore-private-key)"


def _unmet(requirement: SigstoreSigned, reference: ImageReference, evidence: Evidence) -> list[str] | None:
    """None if a signature meets it; else why each that there is does not count."""
    keys = list(_keys(requirement, reference, evidence))
    reasons = []
    for digest in evidence.named:
        for signature, key in itertools.product(evidence.signatures(digest), keys):
            try:
                name = signed_name(signature, key, digest)
                if fits(requirement.signed_identity, reference, name):
                    return None
                reasons.append(
                    f"a signature is for {name[:200]}, which is not {_asked(requirement.signed_identity, name)}"
                )
            except RefusedError as error:
                reasons.append(str(error))
    return reasons


def _keys(requirement: SigstoreSigned, reference: ImageReference, evidence: Evidence) -> Iterator["PublicKey"]:
    texts = [(path, evidence.key(path)) for path in requirement.paths]
    for where, pem in [*texts, *(("keyData", pem) for pem in requirement.keys)]:
        try:
            yield public_key(pem)
        except RefusedError as error:
            raise VerificationError(
                f"{reference} cannot be verified",
                cause=f"policy.json names the key {printable(where)}: {error}",
                remedy="put the public key there that goes with the one that signs (cosign public-key shows it)",
            ) from None


def _asked(identity: Identity, signed: str) -> str:
    """cosign signs names without a tag, which only identities that ask for none can match."""
    kind = f"what {identity.__struct_config__.tag} asks for"
    tagless = ":" not in signed.rpartition("/")[2] and not isinstance(identity, MatchRepository | ExactRepository)
    return f"{kind} (cosign's have no tag: matchRepository)" if tagless else kind
