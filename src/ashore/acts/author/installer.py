# SPDX-License-Identifier: Apache-2.0
"""``ashore build --installer``: the bundle's image, and with it all that a bare host needs to take it in."""

import os
import tempfile
from collections.abc import Mapping

import msgspec

from ashore import __version__
from ashore.acts.author.build import Built, build, put_config, store_layer
from ashore.acts.author.buildtools import BuildTools
from ashore.acts.author.copy import copy
from ashore.errors import UsageError
from ashore.mechanisms.images.blobfiles import FolderFiles
from ashore.mechanisms.images.layerfile import new_layer
from ashore.mechanisms.images.layout import LayoutReader, LayoutWriter
from ashore.mechanisms.images.sources import Source, scan
from ashore.mechanisms.newfile import write_fault
from ashore.mechanisms.own import ownbuild
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import OCI_INDEX, OCI_MANIFEST, Descriptor, Platform
from ashore.nouns.installer import CARD_PATH, LAYOUT, Card
from ashore.nouns.ports import ImageWriter
from ashore.nouns.reference import ImageReference, Transport
from ashore.rules.images import installer, packing

_GZIP = "gzip"
"""Any engine reads it."""
_LEVEL = 9


def build_installer(
    folder: str,
    writer: ImageWriter,
    tools: BuildTools,
    own: str | None,
    *,
    reference: str,
    compression: str,
    level: int | None,
    platforms: tuple[Platform, ...] = (),
) -> Built:
    """Build the bundle at `folder` with the self-contained build at `own` into one image.

    `reference` is the name that it will have; without `own`, the running build is taken, or the checkout's.

    Raises:
        InputError: all that is wrong with the bundle, or `own` is no self-contained build.
        UsageError: there is no self-contained build, or only one for another processor than the bundle's.
    """
    found = ownbuild.read(ownbuild.locate(own))
    if platforms and found.architecture not in {platform.architecture for platform in platforms}:
        raise UsageError(
            f"the self-contained build is for {found.architecture}, the bundle for "
            + ", ".join(str(platform) for platform in platforms),
            remedy=f"add --platform linux/{found.architecture}, or name another build: --self-contained DIR",
        )
    with tempfile.TemporaryDirectory(prefix="ashore-installer-") as aside:
        place = ImageReference(transport=Transport.LAYOUT, place=os.path.join(aside, "layout"))
        layout = LayoutWriter(place.place, "", tools.limits)
        built = build(folder, layout, tools, platforms=platforms, compression=compression, level=level)
        reader = LayoutReader(FolderFiles(place.place), place, tools.limits)
        inner = reader.resolve()
        # What a host has to fetch for an upgrade lies in the registry by itself, too.
        copy(place, reader, place, writer, progress=tools.progress, limits=tools.limits, named=False)
        card = Card(version=__version__, build=found.digest, image=inner.digest, reference=reference)
        first = _layer({installer.place_in_image(p): s for p, s in found.sources.items()}, writer, tools)
        carried = {f"{LAYOUT}/{path}": source for path, source in scan(place.place).items()}
        carried[CARD_PATH] = _written(os.path.join(aside, "card"), msgspec.json.encode(card))
        second = _layer(carried, writer, tools)
    platform = Platform(found.architecture)
    title = f"{built.name} installer"
    config = put_config(
        writer, msgspec.json.encode(installer.image_config(__version__, title, platform, (first[1], second[1])))
    )
    manifest = msgspec.json.encode(installer.image_manifest(title, config, (first[0], second[0])))
    runs = Descriptor(
        media_type=OCI_MANIFEST,
        digest=writer.put_manifest(OCI_MANIFEST, manifest, named=False),
        size=len(manifest),
        platform=platform,
    )
    index = msgspec.json.encode(installer.image_index(runs, inner, packing.index_annotations(compression)))
    digest = writer.put_manifest(OCI_INDEX, index, named=True)
    size = first[0].size + second[0].size
    return msgspec.structs.replace(built, digest=digest, platforms=(str(platform),), size=size)


def _layer(sources: Mapping[str, Source], writer: ImageWriter, tools: BuildTools) -> tuple[Descriptor, Digest]:
    members = tuple(installer.members({path: source.entry for path, source in sources.items()}))
    return store_layer(new_layer(_GZIP, _LEVEL), members, sources, writer, tools, "installer")


def _written(path: str, data: bytes) -> Source:
    """A file of the image that is made here."""
    with write_fault(path), open(path, "xb") as file:
        file.write(data)
    return Source(entry=Entry(kind=Kind.FILE, mode=0o644, size=len(data)), file=path)
