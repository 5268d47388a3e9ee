# SPDX-License-Identifier: Apache-2.0
"""What an installer image looks like: layers any engine reads, an entry point, an index with the bundle beside."""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, folders_of
from ashore.nouns.image import (
    OCI_INDEX,
    OCI_MANIFEST,
    ConfigSection,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    RootFs,
)
from ashore.nouns.installer import ANNOTATION_ROLE, BIN, C_LIBRARY, LABEL_INSTALLER, ROLE_BUNDLE
from ashore.nouns.layer import Member, TarEntry

_EPOCH = "1970-01-01T00:00:00Z"
_NOBODY = Platform("unknown", "unknown")
"""As BuildKit writes entries of an index that no engine shall run."""
_KINDS = {Kind.FILE: Member.FILE, Kind.DIR: Member.DIR, Kind.SYMLINK: Member.SYMLINK}


def place_in_image(path: str) -> str:
    """Where a path of the build lies in the image: the C library where the loader looks for it, the rest together."""
    return path.removeprefix(f"{C_LIBRARY}/") if path.startswith(f"{C_LIBRARY}/") else f"{BIN}/{path}"


def members(entries: Mapping[str, Entry]) -> Iterable[tuple[str, TarEntry]]:
    """An archive's members, in order, for `entries` by path in the image; folders on the way are added."""
    folders = folders_of(entries)
    whole = {path: Entry(kind=Kind.DIR, mode=0o755) for path in folders} | dict(entries)
    for path in sorted(whole):
        entry = whole[path]
        mode = 0o777 if entry.kind is Kind.SYMLINK else 0o755 if entry.kind is Kind.DIR or entry.mode & 0o100 else 0o644
        yield path, TarEntry(name=path, kind=_KINDS[entry.kind], mode=mode, size=entry.size, target=entry.target)


def image_config(version: str, title: str, platform: Platform, diff_ids: tuple[Digest, ...]) -> ImageConfig:
    """The config that an engine runs: the hand-over is the entry point."""
    return ImageConfig(
        created=_EPOCH,
        architecture=platform.architecture,
        os=platform.os,
        config=ConfigSection(
            labels={LABEL_INSTALLER: version, "org.opencontainers.image.title": title},
            entrypoint=(f"/{BIN}/ashore", "hand-over"),
        ),
        rootfs=RootFs(type="layers", diff_ids=diff_ids),
    )


def image_manifest(title: str, config: Descriptor, layers: tuple[Descriptor, ...]) -> Manifest:
    """The manifest that an engine pulls."""
    annotations = {"org.opencontainers.image.title": title}
    return Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=layers, annotations=annotations)


def image_index(installer: Descriptor, bundle: Descriptor, annotations: Mapping[str, str]) -> Index:
    """One name for both: engines run the installer, ashore on a host takes the bundle image, files by files."""
    beside = msgspec.structs.replace(
        bundle, platform=_NOBODY, annotations={**annotations, ANNOTATION_ROLE: ROLE_BUNDLE}
    )
    return Index(schema_version=2, media_type=OCI_INDEX, manifests=(installer, beside))
