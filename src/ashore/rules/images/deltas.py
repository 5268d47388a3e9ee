# SPDX-License-Identifier: Apache-2.0
"""Which old file a new one is made of, which delta a host looks at, and what a delta's manifest must be. No I/O."""

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ashore.errors import InputError
from ashore.nouns.delta import ARTIFACT, DIRECTORY, FROM, PATCHES
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import OCI_EMPTY, OCI_MANIFEST, Descriptor, Manifest
from ashore.nouns.limits import Limits
from ashore.rules.images.documents import parse_artifact

_NUMBER = re.compile(r"[0-9]+")
EMPTY = b"{}"
"""The config of what has none (image-spec, "Guidance for an empty descriptor")."""
_LEAST = 8
"""Bytes: out of less nothing is made."""


class Pair(msgspec.Struct, frozen=True):
    """A content that is needed, and the one that it is made of."""

    old: Entry
    new: Entry


def pairs(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> tuple[Pair, ...]:
    """For each content of `new` that is not in `old`, the most similar old file by its path, if any is.

    The same path; else the one whose path differs in numbers only; else one of the same name. Of several
    the one whose size is nearest.
    """
    there = {path: entry for path, entry in old.items() if entry.kind is Kind.FILE}
    present = {entry.digest for entry in there.values()}
    by_shape: dict[str, list[str]] = {}
    for path in there:
        for shape in _shapes(path):
            by_shape.setdefault(shape, []).append(path)
    found: dict[Digest, Pair] = {}
    for path, entry in sorted(new.items()):
        if entry.kind is not Kind.FILE or not entry.size or entry.digest in present or entry.digest in found:
            continue
        like = [path] if path in there else next((by_shape[s] for s in _shapes(path) if s in by_shape), [])
        nearest = min((there[p] for p in like), key=lambda e: abs(e.size - entry.size), default=None)
        if nearest is not None and nearest.size >= _LEAST:
            found[entry.digest] = Pair(nearest, entry)
    return tuple(found.values())


def _shapes(path: str) -> tuple[str, str]:
    plain = _NUMBER.sub("0", path)
    return plain, "*/" + plain.rpartition("/")[2]


def choose_delta(found: Iterable[Descriptor], installed: Collection[Digest], limits: Limits) -> Descriptor | None:
    """The one delta that a host looks at: from a version that it has, else the last; None where there is none."""
    deltas = [
        entry
        for entry in found
        if entry.artifact_type == ARTIFACT and entry.media_type == OCI_MANIFEST and entry.size <= limits.manifest
    ]
    fitting = [entry for entry in deltas if entry.annotations.get(FROM) in installed]
    return next(reversed(fitting or deltas), None)


def parse_delta(data: bytes, subject: Digest, where: str, limits: Limits) -> tuple[Descriptor, Descriptor]:
    """A delta's directory and patches.

    Raises:
        InputError: it is malformed, no delta, or one of another image.
    """
    manifest: Manifest = parse_artifact(OCI_MANIFEST, data, where, limits)
    if manifest.artifact_type != ARTIFACT:
        raise InputError(f"{where} is no delta")
    if manifest.subject is None or manifest.subject.digest != subject:
        raise InputError(f"{where} is a delta of another image")
    if [layer.media_type for layer in manifest.layers] != [DIRECTORY, PATCHES]:
        raise InputError(f"{where} has other parts than a delta")
    directory, patches = manifest.layers
    if directory.size > limits.delta_directory:
        raise InputError(f"{where} has a directory of {directory.size} bytes")
    return directory, patches


def delta_manifest(subject: Descriptor, base: Digest, directory: Descriptor, patches: Descriptor) -> Manifest:
    """The manifest of a delta of `subject` that starts at the image manifest `base`."""
    return Manifest(
        schema_version=2,
        media_type=OCI_MANIFEST,
        artifact_type=ARTIFACT,
        config=inlined(Descriptor(media_type=OCI_EMPTY, digest=of(EMPTY), size=len(EMPTY)), EMPTY),
        layers=(directory, patches),
        subject=subject,
        annotations={FROM: base},
    )


def inlined(descriptor: Descriptor, data: bytes) -> Descriptor:
    """The descriptor with its content."""
    return msgspec.structs.replace(descriptor, data=base64.b64encode(data).decode())


def carried(descriptor: Descriptor) -> bytes | None:
    """The content that a descriptor brings along; None where it brings none, or another."""
    if descriptor.data is None:
        return None
    try:
        data = base64.b64decode(descriptor.data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == descriptor.size and of(data) == descriptor.digest else None
