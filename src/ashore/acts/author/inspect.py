# SPDX-License-Identifier: Apache-2.0
"""``ashore inspect``: what an image would bring, without a host."""

from collections.abc import Mapping

import msgspec

from ashore.acts.fetch.obtain import obtain
from ashore.acts.fetch.places import IntoCache
from ashore.acts.tools import Tools
from ashore.nouns.bundle import Bundle, BundleStep, Health, ValueSpec
from ashore.nouns.confirm import Confirm
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, format_mode, shown
from ashore.nouns.image import Image
from ashore.nouns.reference import ImageReference
from ashore.rules.bundles.bundle import is_unit_file
from ashore.rules.bundles.placing import host_path, is_shell, is_template
from ashore.rules.images.documents import platform_of
from ashore.rules.units.enablement import has_install, is_drop_in
from ashore.rules.units.unitpaths import in_order


class LayerShown(msgspec.Struct, frozen=True, kw_only=True):
    """A layer as the manifest names it."""

    media_type: str
    digest: Digest
    size: int


class FileShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A path of the bundle, as it would lie on a host."""

    path: str
    kind: Kind
    mode: str
    uid: int = 0
    gid: int = 0
    size: int = 0
    digest: Digest = Digest("")
    target: str = ""
    xattrs: tuple[str, ...] = ()
    template: bool = False


class UnitShown(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that the bundle ships."""

    name: str
    enable: bool


class ValidatorShown(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has to agree with the files that `path`, a path or glob, names."""

    path: str
    command: tuple[str, ...]


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to know of a bundle image."""

    reference: str
    digest: Digest
    manifest_digest: Digest
    platform: str
    labels: Mapping[str, str]
    layers: tuple[LayerShown, ...]
    name: str
    version: str
    values: Mapping[str, ValueSpec]
    units: tuple[UnitShown, ...]
    health: tuple[Health, ...]
    validators: tuple[ValidatorShown, ...]
    steps: tuple[BundleStep, ...]
    confirm: Confirm | None
    files: tuple[FileShown, ...]


def inspect(tools: Tools, reference: ImageReference, *, root_in_image: str = "") -> Inspection:
    """Fetch and read the bundle that `reference` names.

    Raises:
        InputError, RegistryError, VerificationError: it cannot be read, or is no bundle.
    """
    obtained = obtain(tools, reference, IntoCache(tools), root_in_image=root_in_image)
    assert obtained.image is not None
    return describe(obtained.image, obtained.bundle)


def describe(image: Image, bundle: Bundle) -> Inspection:
    """`bundle` in `image`, for people and programs. A secret value's default is not shown."""
    manifest = bundle.manifest
    return Inspection(
        reference=image.reference,
        digest=image.digest,
        manifest_digest=image.manifest_digest,
        platform=platform_of(image.config),
        labels=image.config.labels,
        layers=tuple(LayerShown(media_type=d.media_type, digest=d.digest, size=d.size) for d in image.manifest.layers),
        name=manifest.name,
        version=manifest.version,
        values={
            name: msgspec.structs.replace(spec, default=None) if spec.secret else spec
            for name, spec in manifest.values.items()
        },
        units=tuple(_units(bundle)),
        health=manifest.health,
        validators=tuple(ValidatorShown(path=shown(r.path), command=r.validate) for r in manifest.files if r.validate),
        steps=manifest.steps,
        confirm=manifest.confirm,
        files=tuple(_file(bundle, path, entry) for path, entry in sorted(bundle.entries.items())),
    )


def _units(bundle: Bundle) -> list[UnitShown]:
    found: dict[str, bool] = {}
    places = {host_path(bundle.manifest, path, entry.kind): path for path, entry in bundle.entries.items()}
    for place in reversed(in_order(places)):  # of two of one name, the first is the one that systemd reads
        path, name = places[place], place.rpartition("/")[2]
        entry = bundle.entries[path]
        if entry.kind is Kind.FILE and is_unit_file(path) and not is_drop_in(name):
            text = bundle.texts.get(entry.digest, b"").decode(errors="replace")
            enable = bundle.manifest.enable
            found[name] = has_install(text) if enable is None else name in enable
    found = dict(sorted(found.items()))
    for name in bundle.manifest.enable or ():
        found.setdefault(name, True)
    return [UnitShown(name=name, enable=enable) for name, enable in found.items()]


def _file(bundle: Bundle, path: str, entry: Entry) -> FileShown:
    manifest = bundle.manifest
    return FileShown(
        path=shown(host_path(manifest, path, entry.kind)),
        kind=entry.kind,
        mode=format_mode(entry.mode),
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        digest=entry.digest,
        target=entry.target,
        xattrs=tuple(sorted(entry.xattrs)),
        template=is_template(manifest, path, entry.kind) or is_shell(manifest, path, entry.kind),
    )
