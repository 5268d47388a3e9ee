# SPDX-License-Identifier: Apache-2.0
"""Whether a signature is one of a key, and what it says: of which image, under which name. No I/O.

Source: cosign's "SIGNATURE_SPEC.md" (the payload); containers-policy.json(5), "signedIdentity".
"""

import base64
from typing import TYPE_CHECKING

import msgspec

from ashore.errors import InputError
from ashore.nouns import strictjson
from ashore.nouns.digest import Digest
from ashore.nouns.reference import ImageReference, Transport, parse_name, with_today_s_host
from ashore.nouns.signature import Signature
from ashore.rules.images.policy import (
    ExactReference,
    ExactRepository,
    Identity,
    MatchExact,
    MatchRepository,
    RemapIdentity,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

_KIND = "cosign container image signature"
_LEAST_RSA = 2048


class _Image(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    docker_manifest_digest: str


class _Name(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    docker_reference: str


class _Critical(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    image: _Image
    identity: _Name


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    critical: _Critical
    optional: object = None


class RefusedError(Exception):
    """Why a key or a signature is of no use, for people."""


def public_key(pem: bytes) -> "PublicKey":
    """A public key in PEM.

    Raises:
        RefusedError: it is none, or of a kind that signs no images.
    """
    # Imported late: few hosts ask for signatures.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise RefusedError("it is no public key in PEM") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA:
        raise RefusedError(f"it is an RSA key of {key.key_size} bits, and less than {_LEAST_RSA} are too few")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    ):
        raise RefusedError(f"its curve is {key.curve.name}, and not P-256, P-384 or P-521")
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise RefusedError("it is not of ECDSA, Ed25519 or RSA")
    return key


def signed_name(signature: Signature, key: "PublicKey", digest: Digest) -> str:
    """The name under which `key` signed the image `digest`. Nothing is read of a payload that it did not sign.

    Raises:
        RefusedError: it did not.
    """
    try:
        _verify(key, base64.b64decode(signature.text, validate=True), signature.payload)
    except ValueError:
        raise RefusedError("a signature is not base64") from None
    try:
        critical = msgspec.convert(strictjson.loads(signature.payload), _Payload).critical
    except ValueError as error:
        raise RefusedError(f"what was signed is malformed: {error}") from None
    if critical.type != _KIND:
        raise RefusedError(f"what was signed is {critical.type[:100]!r}, and not a {_KIND!r}")
    if critical.image.docker_manifest_digest != digest:
        raise RefusedError(f"the signature is of another image, {critical.image.docker_manifest_digest[:100]}")
    return critical.identity.docker_reference


def _verify(key: "PublicKey", signature: bytes, payload: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    # The algorithm is the key's to choose, never the signature's.
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, payload, ec.ECDSA(SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, payload, PKCS1v15(), SHA256())
        else:
            key.verify(signature, payload)
    except InvalidSignature:
        raise RefusedError("a signature is of another key, or of something else") from None


def fits(identity: Identity, asked: ImageReference, signed: str) -> bool:
    """Whether what was signed under the name `signed` may stand for what was `asked` for.

    A layout's or archive's path is nobody's name: only identities that name a repository of their own fit there.

    Raises:
        RefusedError: `signed` is no name.
    """
    try:
        found, exact = parse_name(signed)
    except InputError:
        raise RefusedError(f"a signature is for {signed[:200]!r}, which is no image's name") from None
    if isinstance(identity, ExactReference):
        return exact and found == parse_name(identity.docker_reference)[0]
    if isinstance(identity, ExactRepository):
        return _repository(found) == _repository(parse_name(identity.docker_repository)[0])
    if asked.transport is not Transport.REGISTRY:
        return False
    if isinstance(identity, RemapIdentity):
        asked = _remapped(asked, identity)
    if isinstance(identity, MatchRepository):
        return _repository(found) == _repository(asked)
    if asked.digest and not isinstance(identity, MatchExact):
        return exact and _repository(found) == _repository(asked)
    return exact and found == asked


def _repository(name: ImageReference) -> str:
    return f"{name.place}/{name.repository}"


def _remapped(asked: ImageReference, identity: RemapIdentity) -> ImageReference:
    """The name with the other prefix, where it has that one: as a whole, or up to a slash."""
    name, prefix = _repository(asked), with_today_s_host(identity.prefix)
    if name != prefix and not name.startswith(f"{prefix}/"):
        return asked
    other = f"{with_today_s_host(identity.signed_prefix)}{name.removeprefix(prefix)}"
    place, _, repository = other.partition("/")
    return msgspec.structs.replace(asked, place=place, repository=repository)
