# SPDX-License-Identifier: Apache-2.0
"""``ashore build``: a bundle's folder becomes an image, the same one on any day and machine."""

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence

import msgspec

from ashore.acts.author.buildtools import BuildTools
from ashore.acts.author.include import included, unnamed
from ashore.acts.author.parts import manifest_text, tops
from ashore.errors import AshoreError, InputError, Issue, UsageError
from ashore.mechanisms.images.compression import expands_beyond, open_layer
from ashore.mechanisms.images.layerfile import LayerFile, new_layer
from ashore.mechanisms.images.sources import Source, scan
from ashore.mechanisms.images.streams import BytesStream, CountedHashed
from ashore.nouns import toml
from ashore.nouns.bundle import MANIFEST_NAME, BundleManifest
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import Entry, Kind, printable
from ashore.nouns.image import COMPRESSIONS, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Index, Platform
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageWriter, Stream
from ashore.rules.bundles.bundle import ROOT, tree_issues
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.images import packing
from ashore.rules.images.packing import DEFAULT_PLATFORM


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What came out: the digest of the index, or of the only manifest."""

    name: str
    version: str
    digest: Digest
    platforms: tuple[str, ...]
    size: int
    """Bytes of all layers."""


def build(
    folder: str,
    writer: ImageWriter,
    tools: BuildTools,
    *,
    platforms: Sequence[Platform] = (),
    compression: str = COMPRESSIONS[0],
    level: int | None = None,
) -> Built:
    """Build the bundle at `folder` into `writer`. Without `platforms`: one image for all of them.

    Raises:
        InputError: all that is wrong with the bundle.
        UsageError: no such compression, or folders that the bundle lacks or does not know.
    """
    manifest = read_manifest(folder, tools.limits)
    if issues := unnamed(manifest.includes, tools.folders, platforms):
        raise UsageError("the bundle takes files from folders", issues=issues)
    lie = _tops(folder, platforms)
    fits_all = not platforms and not manifest.includes
    built: list[Descriptor] = []
    total = 0
    with tempfile.TemporaryDirectory(prefix="ashore-build-") as aside:
        for platform in platforms or (DEFAULT_PLATFORM,):
            sources = _sources(folder, manifest, platform, lie, tools, aside)
            groups = {path: source.group for path, source in sources.items() if source.group}
            members = tuple(packing.members({path: source.entry for path, source in sources.items()}, groups))
            new = new_layer(compression, level)
            layer, diff_id = store_layer(new, members, sources, writer, tools, str(platform))
            config = packing.image_config(manifest, platform, diff_id, fits_all=fits_all)
            stored = put_config(writer, msgspec.json.encode(config))
            data = msgspec.json.encode(packing.image_manifest(manifest, stored, layer))
            digest = writer.put_manifest(OCI_MANIFEST, data, named=len(platforms) < 2)
            built.append(
                Descriptor(
                    media_type=OCI_MANIFEST,
                    digest=digest,
                    size=len(data),
                    platform=platform,
                    annotations=packing.index_annotations(compression),
                )
            )
            total += layer.size
    digest = built[0].digest
    if len(built) > 1:
        index = Index(schema_version=2, media_type=OCI_INDEX, manifests=tuple(built))
        digest = writer.put_manifest(OCI_INDEX, msgspec.json.encode(index), named=True)
    names = tuple(str(platform) for platform in platforms)
    return Built(name=manifest.name, version=manifest.version, digest=digest, platforms=names, size=total)


def read_manifest(folder: str, limits: Limits) -> BundleManifest:
    """The `bundle.toml` of a folder; where there is none, what its absence means.

    Raises:
        InputError: there is no such folder, or all that is wrong with the file.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{printable(folder)} is not a folder", remedy="name the bundle's folder, with root/ in it")
    path = os.path.join(folder, MANIFEST_NAME)
    name = os.path.basename(os.path.abspath(folder))
    data = manifest_text(folder, limits)
    if data is None:
        return parse_manifest(b"", MANIFEST_NAME, name)
    if len(data) > limits.bundle_toml:
        raise InputError(f"{printable(path)} is too large", cause=f"it may have {limits.bundle_toml} bytes")
    return parse_manifest(data, path, name)


def _tops(folder: str, platforms: Sequence[Platform]) -> tuple[str, ...]:
    """The folders of the bundle that hold trees."""
    found, wrong = tops(folder)
    if wrong:
        raise InputError(f"{printable(folder)} has files that nobody would get", issues=wrong)
    if not found and not os.path.lexists(os.path.join(folder, MANIFEST_NAME)):
        raise InputError(f"{printable(folder)} is no bundle", cause=f"it has neither {MANIFEST_NAME} nor {ROOT}/")
    if issues := packing.stray_platforms((name for name in found if name != ROOT), platforms):
        raise UsageError("the bundle has files for single platforms", issues=issues)
    return found


def _sources(
    folder: str,
    manifest: BundleManifest,
    platform: Platform,
    lie: Sequence[str],
    tools: BuildTools,
    aside: str,
) -> Mapping[str, Source]:
    """Every path of the image below its bundle folder, packed, with where its content lies.

    Raises:
        InputError: all that may not be in a bundle.
    """
    found: dict[str, Source] = {}
    for top in (ROOT, f"{ROOT}.{platform.architecture}"):
        if top in lie:
            _lay_over(found, scan(os.path.join(folder, top)))
    issues: list[Issue] = []
    for number, include in enumerate(manifest.includes):
        place = os.path.join(aside, f"{platform.architecture}{platform.variant}-{number}")
        try:
            issues += _add(found, include.source, included(include, platform, tools, place))
        except InputError as error:
            where = _place_of(folder, number, tools.limits)
            issues += error.issues or (Issue(where=where, message=str(error), remedy=error.remedy),)
        except AshoreError as error:  # of a registry, say: it keeps its code
            where = _place_of(folder, number, tools.limits)
            error.message = f"{where}: including {include.source}: {error.message}"
            error.issues = (*error.issues, *issues)
            raise
    packed = {path: _packed(manifest, path, source) for path, source in found.items()}
    issues += tree_issues(manifest, {path: source.entry for path, source in packed.items()}, tools.limits)
    if issues:
        issues = [_where_it_lies(issue, found, folder) for issue in issues]
        raise InputError(f"the bundle {manifest.name} cannot be built", issues=issues)
    sources = {f"{ROOT}/{path}": source for path, source in packed.items()}
    text = os.path.join(folder, MANIFEST_NAME)
    if os.path.lexists(text):
        size = os.stat(text).st_size
        sources[MANIFEST_NAME] = Source(entry=Entry(kind=Kind.FILE, mode=0o644, size=size), file=text)
    return sources


def _where_it_lies(issue: Issue, found: Mapping[str, Source], folder: str) -> Issue:
    """`issue` with the name that the file has in the bundle's folder: what lies over ``root/`` has another."""
    source = found.get(issue.where.removeprefix(f"{ROOT}/"))
    there = os.path.relpath(source.file, folder) if source is not None and source.file else ""
    return msgspec.structs.replace(issue, where=printable(there)) if there.startswith(f"{ROOT}.") else issue


def _place_of(folder: str, number: int, limits: Limits) -> str:
    """Where the manifest has its include of this number."""
    return toml.parse(manifest_text(folder, limits) or b"", MANIFEST_NAME).place(("include", number))


def _lay_over(lower: dict[str, Source], upper: Mapping[str, Source]) -> None:
    entries = {path: source.entry for path, source in lower.items()}
    for path in packing.overlay(entries, {path: source.entry for path, source in upper.items()}):
        del lower[path]
    lower.update(upper)


def _add(found: dict[str, Source], image: str, brought: Mapping[str, Source]) -> list[Issue]:
    issues = []
    for path, source in brought.items():
        there = found.setdefault(path, source)
        if there is not source and not (there.entry.kind is source.entry.kind is Kind.DIR):
            where = printable(f"{ROOT}/{path}")
            issues.append(Issue(where=where, message=f"comes from {image} as well", remedy="keep one of them"))
    return issues


def _packed(manifest: BundleManifest, path: str, source: Source) -> Source:
    entry = source.entry
    data = source.content() if entry.kind is Kind.FILE and 0 < entry.size <= packing.KEY_SIZE else b""
    return msgspec.structs.replace(source, entry=packing.pack(manifest, path, entry, data))


def store_layer(
    layer: LayerFile,
    members: Sequence[tuple[str, TarEntry]],
    sources: Mapping[str, Source],
    writer: ImageWriter,
    tools: BuildTools,
    name: str,
) -> tuple[Descriptor, Digest]:
    """Write the new layer aside, then where it shall go. `members` are by the path of their source.

    Raises:
        InputError: hosts would refuse it.
    """
    size, steep = 0, False
    tools.progress.begin(name, sum(entry.size for _, entry in members))
    try:
        for path, entry in members:
            _add_member(layer, entry, sources.get(path))
            tools.progress.advance(name, entry.size)
            size += entry.size
            steep = steep or expands_beyond(size, layer.blob.size, tools.limits)
        descriptor, diff_id = layer.finish()
        if steep:
            _check_readable(layer.blob.open(descriptor), descriptor, tools.limits)
        if not writer.has_blob(descriptor):
            writer.put_blob(descriptor, layer.blob.open(descriptor))
    finally:
        layer.blob.close()
        tools.progress.end(name)
    return descriptor, diff_id


def _check_readable(stream: Stream, layer: Descriptor, limits: Limits) -> None:
    """Read the new layer as a host reads it whole: where it is all zeros it may look like a decompression bomb.

    Raises:
        InputError: it does.
    """
    unpacked = open_layer(stream, layer.media_type, limits, None, name="the new layer")
    try:
        while unpacked.piece():
            pass
    except InputError as error:
        remedy = "build with --compression gzip, which never gets there"
        raise InputError("every host would refuse the image", cause=str(error), remedy=remedy) from error
    finally:
        unpacked.close()


def _add_member(layer: LayerFile, entry: TarEntry, source: Source | None) -> None:
    """Add a member to a layer, a file with its content."""
    if source is None or entry.kind is not Member.FILE:
        layer.add(entry, None)
        return
    with contextlib.closing(source.open()) as content:
        layer.add(entry, content)


def put_config(writer: ImageWriter, data: bytes) -> Descriptor:
    """Store an image's config, unless it is there."""
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=of(data), size=len(data))
    if not writer.has_blob(descriptor):
        stream = CountedHashed(BytesStream(data), digest=descriptor.digest, size=len(data), name="the config")
        writer.put_blob(descriptor, stream)
    return descriptor
