# SPDX-License-Identifier: Apache-2.0
"""Digests: the only handle on content after a reference was resolved."""

import hashlib
import re
from typing import Annotated, NewType

import msgspec

from ashore.errors import InputError

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hex digits, checked by whoever made it (`parse`, `of`, the wire types)."""

_CHECKED = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = 64

WireDigest = Annotated[Digest, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
"""A digest as a field of a JSON document: decoding fails where it is not one."""


def parse(text: str) -> Digest:
    """Check `text` before it is used as a name of anything.

    Source: OCI image-spec, descriptor.md, "Digests".

    Raises:
        InputError: `text` is not ``sha256:`` and 64 lower-case hex digits.
    """
    if not is_digest(text):
        raise InputError(
            f"not a digest: {text[:100]!r}",
            remedy="ashore uses sha256: write sha256: and 64 lower-case hex digits",
        )
    return Digest(text)


def is_digest(text: str) -> bool:
    """Whether `text` is ``sha256:`` and 64 lower-case hex digits."""
    return _CHECKED.fullmatch(text) is not None


def of(data: bytes) -> Digest:
    """The digest of `data`."""
    return of_hash(hashlib.sha256(data))


def of_hash(hashed: "hashlib._Hash") -> Digest:
    """The digest of all that was put into a SHA-256."""
    return Digest("sha256:" + hashed.hexdigest())


def hex_of(digest: Digest) -> str:
    """The 64 hex digits, the name of the content in a store.

    Raises:
        ValueError: it is no digest; as a name it could lead anywhere, so that this is checked twice.
    """
    name = digest.partition(":")[2]
    if len(name) != _HEX or "/" in name:
        raise ValueError(f"not a digest: {digest[:100]!r}")
    return name


def short(digest: str) -> str:
    """The first twelve digits: for people, never for machines."""
    return digest.partition(":")[2][:12]
