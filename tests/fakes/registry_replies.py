# SPDX-License-Identifier: Apache-2.0
"""What the registry in memory is asked and answers, and the ways in which its answers can go wrong."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from ashore.nouns.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST


class Seen(msgspec.Struct, frozen=True):
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def text(self) -> str:
        """All of it but the body: what a snooping server would keep."""
        return f"{self.method} {self.path}\n" + "\n".join(f"{k}: {v}" for k, v in self.headers.items())


class Reply(msgspec.Struct, frozen=True):
    """An answer before it is sent; a misbehaviour makes another of it."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    cut: int | None = None
    """End the connection after so many bytes of the body; `hard` with a reset."""
    hard: bool = False
    stall: int | None = None
    """Say nothing more after so many bytes of the body, until the registry is closed."""
    endless: bool = False
    """Send the body again and again, in chunks."""
    length: int | None = None
    """Another Content-Length than the body's."""
    framed: bool = True
    """Else no Content-Length: the connection ends with the body."""


Change = Callable[[Reply], Reply]


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Change:
    """Answer with something else."""
    return lambda reply: Reply(status, headers or {}, body)


def with_headers(**headers: str) -> Change:
    """Set headers (``_`` for ``-``); an empty value removes one."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}

    def change(reply: Reply) -> Reply:
        kept = {k: v for k, v in reply.headers.items() if k not in changed} | {k: v for k, v in changed.items() if v}
        return msgspec.structs.replace(reply, headers=kept)

    return change


def altered(change: Callable[[bytes], bytes]) -> Change:
    """Send another body, with the right length."""
    return lambda reply: msgspec.structs.replace(reply, body=change(reply.body))


def cut(after: int, *, hard: bool = False, framed: bool = True) -> Change:
    """End the connection half-way. A `hard` end may swallow some of what was sent before it."""
    return lambda reply: msgspec.structs.replace(reply, cut=after, hard=hard, framed=framed)


def stalled(after: int) -> Change:
    """Fall silent half-way."""
    return lambda reply: msgspec.structs.replace(reply, stall=after)


def endless(reply: Reply) -> Reply:
    """Never stop sending."""
    return msgspec.structs.replace(reply, endless=True)


def redirected(url: str, status: int = 307) -> Change:
    """Send the client elsewhere."""
    return lambda reply: Reply(status, {"Location": url})


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Holder(Protocol):
    """A registry whose memory can be written to."""

    blobs: dict[str, dict[str, bytes]]
    manifests: dict[str, dict[str, tuple[str, bytes]]]
    tags: dict[str, dict[str, str]]


def put_image(registry: Holder, name: str, tag: str, layer: bytes) -> tuple[str, str]:
    """An image of one layer, straight into memory; returns the digests of its manifest and its layer."""
    config = b"{}"
    layers = [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": digest_of(config),
                "size": len(config),
            },
            "layers": layers,
        }
    ).encode()
    registry.blobs.setdefault(name, {}).update({digest_of(config): config, digest_of(layer): layer})
    registry.manifests.setdefault(name, {})[digest_of(manifest)] = (OCI_MANIFEST, manifest)
    registry.tags.setdefault(name, {})[tag] = digest_of(manifest)
    return digest_of(manifest), digest_of(layer)
