# SPDX-License-Identifier: Apache-2.0
"""``ashore provision``: what a new machine needs to become a node, from an image's name."""

from collections.abc import Callable

import msgspec

from ashore.errors import InputError, unread_because
from ashore.nouns.config import Pull
from ashore.nouns.files import printable
from ashore.nouns.limits import Limits
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference
from ashore.rules.provision import formats
from ashore.rules.provision.bootunit import Engine, Fetched, boot_unit
from ashore.rules.provision.material import Material, material


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. Files are named, and read here."""

    reference: ImageReference
    engine: Engine = Engine.DOCKER
    pull: Pull = Pull.MISSING
    fetched: Fetched | None = None
    values: str = ""
    authority: str = ""
    mirror: str = ""


def pin(reference: ImageReference, open_image: Callable[[ImageReference], ImageReader]) -> ImageReference:
    """The same reference, fixed to what it names now: the only thing here that asks a registry."""
    return reference if reference.digest else reference.pinned(open_image(reference).resolve().digest)


def unit(wish: Wish) -> str:
    """The boot unit."""
    return boot_unit(wish.reference, wish.engine, wish.pull, wish.fetched)


def user_data(kind: str, wish: Wish, limits: Limits) -> str:
    """The material in the format `kind`.

    Raises:
        InputError: a file cannot be read, or is not what it should be.
        UsageError: what is asked for does not fit together.
    """
    made = material(
        wish.reference,
        wish.engine,
        unit(wish),
        values=_values(wish.values, limits) if wish.values else "",
        authority=_authority(wish.authority, limits) if wish.authority else "",
        mirror=wish.mirror,
    )
    write: Callable[[Material], str] = {
        "cloud-config": formats.cloud_config,
        "coreos-cloudinit": formats.coreos_cloudinit,
        "ignition": formats.ignition,
        "butane": formats.butane,
    }[kind]
    return write(made)


def _values(path: str, limits: Limits) -> str:
    from ashore.nouns import toml

    text = _read(path, limits.bundle_toml, "--values FILE names a TOML file of this machine")
    toml.parse(text.encode(), printable(path), values="")  # as the host does
    return text


def _authority(path: str, limits: Limits) -> str:
    text = _read(path, limits.template, "--registry-ca FILE names a certificate in PEM on this machine")
    if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY" in text:
        raise InputError(f"{printable(path)} is no certificate in PEM", remedy="name the authority's certificate")
    return text


def _read(path: str, most: int, remedy: str) -> str:
    """A file's text of at most so many bytes, its lines ended as on a host."""
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        data += b"" if data.endswith(b"\n") else b"\n"
        if len(data) > most:
            raise InputError(f"{printable(path)} is larger than {most} bytes")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {printable(path)}", cause=unread_because(error), remedy=remedy) from error
