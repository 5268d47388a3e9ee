# SPDX-License-Identifier: Apache-2.0
"""What a bundle's folder becomes in an image: modes by rule, owners root, nothing of the author's machine. No I/O."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from ashore.errors import Issue, UsageError
from ashore.nouns.bundle import BundleManifest
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, ancestors, folders_of, printable
from ashore.nouns.image import (
    BUNDLE_PATH,
    OCI_MANIFEST,
    ConfigSection,
    Descriptor,
    ImageConfig,
    Manifest,
    Platform,
    RootFs,
)
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.limits import MIB
from ashore.rules.bundles.bundle import ROOT
from ashore.rules.bundles.placing import rule_for
from ashore.rules.images.documents import ANY, LABEL_PLATFORM

DEFAULT_PLATFORM = Platform("amd64")
"""What an image that fits all calls itself, since an image must say something."""
_ARCHITECTURES = frozenset({
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x",
})  # fmt: skip
"""Go's names for Linux (``go tool dist list``), by which engines choose."""
_NAMES = ", ".join(sorted(_ARCHITECTURES))
_OTHER_NAMES = {
    "x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armhf": "arm/v7",
    "i386": "386", "i686": "386", "ppc64el": "ppc64le", "mips64el": "mips64le", "mipsel": "mipsle",
    "loongarch64": "loong64",
}  # fmt: skip
"""What kernels and distributions call them."""
_ZSTD = "io.github.containers.compression.zstd"
_EPOCH = "1970-01-01T00:00:00Z"
_KEY_END = b"PRIVATE KEY-----"
_KEY = rb"-----BEGIN [A-Z0-9 ]{0,64}" + _KEY_END
_PRIVATE_KEY = re.compile(
    rb"^[ \t]*" + _KEY + rb"|" + _KEY + rb"(?:\\[rn]|\s)*(?:[A-Za-z0-9+/=]{16}|Proc-Type:)", re.MULTILINE
)
KEY_SIZE = MIB
"""A larger file is no key."""
_FOLDER = Entry(kind=Kind.DIR, mode=0o755)
_MEMBERS = {Kind.FILE: Member.FILE, Kind.DIR: Member.DIR, Kind.SYMLINK: Member.SYMLINK}


def parse_platform(text: str) -> Platform:
    """``amd64``, ``linux/arm64`` or ``linux/arm/v7``.

    Raises:
        UsageError: it is none of these.
    """
    parts = text.split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    known = len(parts) > 1 and parts[1] in _ARCHITECTURES
    if parts[0] != "linux" or len(parts) > 3 or not known or not re.fullmatch(r"[a-z0-9_.-]*", "".join(parts[2:])):
        other = _OTHER_NAMES.get(parts[1]) if len(parts) > 1 else None
        remedy = f"did you mean linux/{other}?" if other else "write linux/amd64, linux/arm64 or linux/arm/v7"
        raise UsageError(f"not a platform: {printable(text[:100])!r}", cause=f"Go names {_NAMES}", remedy=remedy)
    return Platform(parts[1], parts[0], parts[2] if len(parts) == 3 else "")


def holds_key(data: bytes) -> bool:
    """Whether it has a private key in PEM, on its own lines or within one, as in JSON: not a word of keys."""
    return _KEY_END in data and bool(_PRIVATE_KEY.search(data))


def pack(manifest: BundleManifest, path: str, entry: Entry, data: bytes) -> Entry:
    """`entry`, below root/, as it goes into the image; `data` is the content of a file that may be a key."""
    if entry.kind is Kind.SYMLINK:
        mode = 0o777
    elif entry.kind is Kind.DIR or entry.mode & 0o100:
        mode = 0o755
    else:
        mode = 0o600 if holds_key(data) else 0o644
    said = rule_for(manifest, path, entry.kind).mode
    if said is not None and entry.kind is not Kind.SYMLINK:
        mode = said
    return msgspec.structs.replace(entry, mode=mode, uid=0, gid=0, link="")


def overlay(lower: Mapping[str, Entry], upper: Mapping[str, Entry]) -> set[str]:
    """The paths of `lower` that are gone when `upper` is laid over it: replaced, or below what is no folder now."""
    solid = {path for path, entry in upper.items() if entry.kind is not Kind.DIR}
    needed = folders_of(upper)
    gone = {path for path in lower if path in upper or (path in needed and lower[path].kind is not Kind.DIR)}
    return gone | {path for path in lower if solid.intersection(ancestors(path))}


def with_folders(paths: Iterable[str]) -> set[str]:
    """The folders that `paths` lie in and that are not among them."""
    given = set(paths)
    return folders_of(given) - given


def members(entries: Mapping[str, Entry], groups: Mapping[str, str]) -> Iterable[tuple[str, TarEntry]]:
    """The archive, in order: each path of `entries` (below the bundle's folder) and its member.

    `groups` names the hard-link group of a path; the first path of a group has the content. A path whose mode
    [[files]] says differently is no link any more: the mode of a link is that of all its names.
    """
    first: dict[tuple[str, int], str] = {}
    yield "", TarEntry(name=BUNDLE_PATH, kind=Member.DIR, mode=0o755)
    for path in sorted({*entries, *with_folders(entries)}):
        entry = entries.get(path, _FOLDER)
        kind, target, size = _MEMBERS[entry.kind], entry.target, entry.size
        leader = first.setdefault((groups.get(path) or f"/{path}", entry.mode), path)
        if leader != path:
            kind, target, size = Member.HARDLINK, f"{BUNDLE_PATH}/{leader}", 0
            entry = entries[leader]
        xattrs = {} if kind is Member.HARDLINK else entry.xattrs
        yield (
            path,
            TarEntry(name=f"{BUNDLE_PATH}/{path}", kind=kind, mode=entry.mode, size=size, target=target, xattrs=xattrs),
        )


def image_config(manifest: BundleManifest, platform: Platform, diff_id: Digest, *, fits_all: bool) -> ImageConfig:
    """The config of a bundle image: the epoch, the platform, and labels for whoever looks."""
    labels = {"org.opencontainers.image.title": manifest.name}
    if manifest.version:
        labels["org.opencontainers.image.version"] = manifest.version
    if fits_all:
        labels[LABEL_PLATFORM] = ANY
    return ImageConfig(
        created=_EPOCH,
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=ConfigSection(labels=labels),
        rootfs=RootFs(type="layers", diff_ids=(diff_id,)),
    )


def index_annotations(compression: str) -> Mapping[str, str]:
    """What an index says of an image whose layer has that compression.

    Source: podman's and skopeo's mark of zstd: of an index without it their copy would be another one.
    """
    return {_ZSTD: "true"} if compression.startswith("zstd") else {}


def image_manifest(manifest: BundleManifest, config: Descriptor, layer: Descriptor) -> Manifest:
    """The manifest of a bundle image."""
    annotations = {"org.opencontainers.image.title": manifest.name}
    if manifest.version:
        annotations["org.opencontainers.image.version"] = manifest.version
    return Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=(layer,), annotations=annotations)


def top_issue(name: str, *, is_folder: bool) -> Issue | None:
    """What is wrong with `root` or ``root.ARCH`` of a bundle: no platform would ever get what lies there."""
    architecture = name.partition(".")[2]
    if name == ROOT or architecture in _ARCHITECTURES:
        return None if is_folder else Issue(where=printable(name), message="is not a folder")
    if not is_folder:
        return None
    meant = _OTHER_NAMES.get(architecture, "").partition("/")[0]
    remedy = f"did you mean {ROOT}.{meant}?" if meant else f"rename it; ARCH in {ROOT}.ARCH is one of {_NAMES}"
    return Issue(where=printable(name), message="is for no architecture that there is", remedy=remedy)


def stray_platforms(folders: Iterable[str], platforms: Iterable[Platform]) -> tuple[Issue, ...]:
    """Folders ``root.ARCH`` although no platform was asked for: their files would be left out silently."""
    if tuple(platforms):
        return ()
    return tuple(
        Issue(where=folder, message="is for one platform", remedy=f"add --platform linux/{folder.partition('.')[2]}")
        for folder in sorted(folders)
    )
