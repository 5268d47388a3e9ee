# SPDX-License-Identifier: Apache-2.0
"""What a registry or a layout holds: descriptors, manifests, indexes (OCI image-spec 1.1)."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from ashore.nouns.digest import Digest, WireDigest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

COMPRESSIONS = ("zstd:chunked", "zstd", "gzip", "none")
"""What a layer that ashore writes can be compressed by; the first where nobody says."""

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)

LABEL_ROOT = "io.ashore.root"
"""Image label: where in the image the tree to install lies, for images made before ashore."""
BUNDLE_PATH = "ashore"
"""Where an image carries its bundle."""

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """An index entry's platform; ``amd64``, ``arm64`` and so on are Go's names."""

    architecture: str
    os: str = msgspec.field(default_factory=lambda: "linux")  # by a function, so that it is always written
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Names a piece of content: its type, its digest, its size in bytes."""

    media_type: str
    digest: WireDigest
    size: Size
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""
    data: str | None = None
    """The content itself in base64, where it is small enough to come along."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image manifest: its config and its layers, lowest first."""

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image index: one manifest for each platform."""

    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    annotations: Mapping[str, str] = {}


class Referrers(msgspec.Struct, frozen=True, kw_only=True):
    """What refers to an image: manifests with it as their subject."""

    found: tuple[Descriptor, ...] = ()
    by_tag: bool = False
    """The registry has no list of them; they stand in an index under a tag."""


def referrers_tag(subject: Digest) -> str:
    """The tag of the index of referrers where a registry has no list (distribution-spec, "Referrers Tag Schema")."""
    return subject.replace(":", "-")


class RootFs(msgspec.Struct, frozen=True):
    """The digests of the uncompressed layers, lowest first."""

    type: str
    diff_ids: tuple[WireDigest, ...]


class ConfigSection(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """What of an image config's ``config`` ashore reads. Labels are data, never commands or paths of ours."""

    labels: Mapping[str, str] | None = None
    entrypoint: tuple[str, ...] | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image config."""

    architecture: str
    os: str
    rootfs: RootFs
    config: ConfigSection = ConfigSection()
    created: str | None = None
    variant: str = ""

    @property
    def platform(self) -> Platform:
        return Platform(self.architecture, self.os, self.variant)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.labels or {}


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a reference was resolved to: nothing after this asks for a tag again.

    `digest` is what the reference named (of an index, where there is one); `manifest_digest` is that
    of the manifest chosen for the platform. `named` are all on the way from one to the other, each of
    which vouches for the next: what the registry names first, the manifest last.
    """

    reference: str
    digest: Digest
    manifest_digest: Digest
    manifest: Manifest
    config: ImageConfig
    named: tuple[Digest, ...] = ()


class VerifiedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a policy admitted. Only `rules.images.verify` makes one; only this can be read as a bundle."""

    image: Image
    policy: str
    """The rule of policy.json that admitted it, or ``no policy``."""
