# SPDX-License-Identifier: Apache-2.0
"""Deltas: an OCI referrer of an image that makes its files out of an older version's (docs/reference/deltas.md)."""

import msgspec

from ashore.nouns.digest import WireDigest
from ashore.nouns.image import Size
from ashore.nouns.limits import MIB

ARTIFACT = "application/vnd.ashore.delta.v1"
DIRECTORY = "application/vnd.ashore.delta.directory.v1+json+zstd"
PATCHES = "application/vnd.ashore.delta.patches.v1"

FROM = "io.ashore.delta.from"
"""Annotation of a delta's manifest: the digest of the image manifest that it starts at."""
INDEX = "io.ashore.index"
"""Annotation of a layer: the digest of its compact index (`mechanisms.images.compactindex`)."""

SEGMENT = 2 * MIB
"""So much of a new file is made at a time."""
CONTEXT = MIB // 2
"""So much of the old file is looked at before and after the same place. More finds next to nothing more, and whoever
applies a patch has it in memory twice."""


class Patch(msgspec.Struct, frozen=True):
    """How to make one content out of another: `length` bytes from `at` on in the patches."""

    old: WireDigest
    new: WireDigest
    old_size: Size
    size: Size
    at: Size
    length: Size


class Directory(msgspec.Struct, frozen=True):
    """All patches of a delta; `segment` bytes of a new content are made by each of a patch's segments."""

    segment: int
    patches: tuple[Patch, ...]
