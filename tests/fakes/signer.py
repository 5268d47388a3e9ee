# SPDX-License-Identifier: Apache-2.0
"""Somebody who signs images as cosign does, and what else could be signed; the real ones sign in tests/system."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ashore.nouns.digest import of
from ashore.nouns.image import OCI_CONFIG, OCI_MANIFEST
from ashore.nouns.signature import SIGNATURE_ANNOTATION, SIGNATURE_LAYER, Signature, signatures_tag
from tests.fakes.registry import FakeRegistry

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class Signer:
    """A key; `pem` is its public half."""

    def __init__(self, key: Private | None = None) -> None:
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self.pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: bytes) -> Signature:
        """A signature of whatever it is."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            made = self._key.sign(payload, ec.ECDSA(SHA256()))
        elif isinstance(self._key, rsa.RSAPrivateKey):
            made = self._key.sign(payload, padding.PKCS1v15(), SHA256())
        else:
            made = self._key.sign(payload)
        return Signature(payload, base64.b64encode(made).decode())

    def image(self, digest: str, name: str) -> Signature:
        """A signature of an image under a name."""
        return self.sign(payload(digest, name))


def payload(digest: str, name: str, **other: Any) -> bytes:
    """What cosign signs; `other` goes over the keys of ``critical``, or adds to them."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    } | other
    return json.dumps({"critical": critical, "optional": None}).encode()


def attach(registry: FakeRegistry, repository: str, subject: str, *signatures: Signature, kind: str = "") -> str:
    """Put signatures beside an image, as layers of type `kind`; returns the tag that they lie under."""
    blobs = registry.blobs.setdefault(repository, {})
    layers = []
    for signature in signatures:
        blobs[of(signature.payload)] = signature.payload
        annotations = {SIGNATURE_ANNOTATION: signature.text} if signature.text else {}
        layers.append(_descriptor(kind or SIGNATURE_LAYER, signature.payload) | {"annotations": annotations})
    blobs[of(b"{}")] = b"{}"
    manifest = {"schemaVersion": 2, "config": _descriptor(OCI_CONFIG, b"{}"), "layers": layers}
    return put(registry, repository, subject, json.dumps(manifest | {"mediaType": OCI_MANIFEST}).encode())


def put(registry: FakeRegistry, repository: str, subject: str, manifest: bytes) -> str:
    """Put any manifest where an image's signatures are looked for."""
    tag = signatures_tag(subject)  # type: ignore[arg-type]
    registry.manifests.setdefault(repository, {})[of(manifest)] = (OCI_MANIFEST, manifest)
    registry.tags.setdefault(repository, {})[tag] = of(manifest)
    return tag


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": of(data), "size": len(data)}
