# SPDX-License-Identifier: Apache-2.0
"""Manifests, indexes and configs: JSON from outside becomes nouns, or is refused. No I/O.

Source: OCI image-spec, manifest.md, image-index.md, config.md; and the advisory on documents that are
both a manifest and an index (CVE-2021-41190).
"""

from typing import TypeVar

import msgspec

from ashore.errors import InputError
from ashore.nouns import strictjson
from ashore.nouns.files import printable
from ashore.nouns.image import (
    DOCKER_CONFIG,
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
)
from ashore.nouns.installer import ANNOTATION_ROLE, ROLE_BUNDLE
from ashore.nouns.limits import Limits

LABEL_PLATFORM = "io.ashore.platform"
"""``any``: the image fits every architecture, whatever its config says."""
ANY = "any"
_ARM = frozenset({"v5", "v6", "v7"})
"""Variants of arm: each runs what is made for those before it, as containerd has it (platforms, compare.go)."""

T = TypeVar("T")


def parse_manifest_or_index(media_type: str, data: bytes, where: str, limits: Limits) -> Manifest | Index:
    """What `data` is, by the type it was given under and its own word, which must agree.

    Raises:
        InputError: it is neither, or both, or over a limit.
    """
    document = _document(data, where, limits)
    own = document.get("mediaType", media_type)
    if own != media_type:
        raise _bad(where, f"it was given as {media_type!r} and says it is {own!r}")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise _bad(where, "it is an index and a manifest at once")
    if media_type in INDEXES:
        index = _convert(document, Index, where)
        if len(index.manifests) > limits.index_manifests:
            raise _bad(where, f"more than {limits.index_manifests} manifests")
        return index
    manifest = _manifest(media_type, document, where, limits)
    if manifest.config.media_type not in {OCI_CONFIG, DOCKER_CONFIG}:
        raise _bad(where, f"its config is of type {manifest.config.media_type!r}", "this is no image")
    return manifest


def parse_artifact(media_type: str, data: bytes, where: str, limits: Limits) -> Manifest:
    """The manifest of something that refers to an image, and need not be one.

    Raises:
        InputError: it is malformed, or over a limit.
    """
    document = _document(data, where, limits)
    if document.get("mediaType", media_type) != media_type or "manifests" in document:
        raise _bad(where, "it is not what it was given as")
    return _manifest(media_type, document, where, limits)


def _manifest(media_type: str, document: dict[str, object], where: str, limits: Limits) -> Manifest:
    if media_type not in MANIFESTS:
        raise _bad(where, f"its type is {media_type!r}", "an image manifest or index is needed")
    manifest = _convert(document, Manifest, where)
    if len(manifest.layers) > limits.layers:
        raise _bad(where, f"{len(manifest.layers)} layers, more than {limits.layers}")
    return manifest


def parse_config(data: bytes, manifest: Manifest, where: str, limits: Limits) -> ImageConfig:
    """The image config that belongs to `manifest`.

    Raises:
        InputError: it is malformed, or does not name as many layers as the manifest.
    """
    config = _convert(_document(data, where, limits), ImageConfig, where)
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise _bad(where, f"it names {len(config.rootfs.diff_ids)} layers, the manifest has {len(manifest.layers)}")
    return config


def choose(index: Index, platform: Platform, where: str) -> Descriptor:
    """The entry of an index for `platform`; a nested index stands for whatever is in it.

    Of an installer image, the bundle image that lies beside what engines run.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    if carried := carried_bundle(index):
        return carried
    images = [entry for entry in index.manifests if entry.media_type in (*MANIFESTS, *INDEXES) and not _attests(entry)]
    fitting = [entry for entry in images if entry.platform and _fits(entry.platform, platform)]
    exact = [entry for entry in fitting if entry.platform and entry.platform.variant == platform.variant]
    for candidates in (exact, sorted(fitting, key=_preference), [entry for entry in images if entry.platform is None]):
        if candidates:
            return candidates[0]
    there = ", ".join(sorted({str(entry.platform) for entry in images})) or "nothing"
    raise InputError(f"{where} has no image for {platform}", cause=f"it has {printable(there[:500])}")


def carried_bundle(index: Index) -> Descriptor | None:
    """The bundle image of an installer image's index."""
    return next((entry for entry in index.manifests if entry.annotations.get(ANNOTATION_ROLE) == ROLE_BUNDLE), None)


def platform_of(config: ImageConfig) -> str:
    """What it fits, as text: ``linux/amd64``, or ``any``."""
    return ANY if config.labels.get(LABEL_PLATFORM) == ANY else str(config.platform)


def check_platform(config: ImageConfig, platform: Platform, where: str) -> None:
    """An image made for another architecture is refused, unless it says that it fits any.

    Raises:
        InputError: it does not fit.
    """
    if config.labels.get(LABEL_PLATFORM) != ANY and not _fits(config.platform, platform):
        raise InputError(
            f"{where} is for {printable(str(config.platform))}, not for {platform}",
            remedy=f"build it for this platform, or label it {LABEL_PLATFORM}={ANY} if it fits all",
        )


def _fits(has: Platform, wanted: Platform) -> bool:
    if (has.os, has.architecture) != (wanted.os, wanted.architecture):
        return False
    older = has.architecture == "arm" and {has.variant, wanted.variant} <= _ARM and has.variant < wanted.variant
    return older or not has.variant or not wanted.variant or has.variant == wanted.variant


def _preference(entry: Descriptor) -> int:
    """Of what fits an arm processor the newest first, all others as they are listed."""
    has = entry.platform
    return -sorted(_ARM).index(has.variant) - 1 if has and has.architecture == "arm" and has.variant in _ARM else 0


def _attests(entry: Descriptor) -> bool:
    """BuildKit's attestations lie in the index beside the images."""
    return "vnd.docker.reference.type" in entry.annotations


def _document(data: bytes, where: str, limits: Limits) -> dict[str, object]:
    if len(data) > limits.manifest:
        raise _bad(where, f"more than {limits.manifest} bytes")
    try:
        document = strictjson.loads(data)
    except ValueError as error:
        raise _bad(where, str(error)) from error
    if not isinstance(document, dict):
        raise _bad(where, "it is not a JSON object")
    return document


def _convert(document: dict[str, object], kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _bad(where, str(error)) from error


def _bad(where: str, cause: str, remedy: str = "") -> InputError:
    return InputError(f"{where} is malformed", cause=printable(cause), remedy=remedy)
