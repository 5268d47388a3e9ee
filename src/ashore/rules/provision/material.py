# SPDX-License-Identifier: Apache-2.0
"""What a new machine is given: files and the boot unit. The formats only write it down."""

import msgspec

from ashore.errors import UsageError
from ashore.nouns.config import VALUES_FOLDER
from ashore.nouns.reference import ImageReference, is_location
from ashore.rules.provision.bootunit import Engine


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the machine."""

    path: str
    text: str
    mode: int = 0o644


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, in order."""

    unit: str
    files: tuple[Given, ...] = ()


def material(
    reference: ImageReference, engine: Engine, unit: str, *, values: str = "", authority: str = "", mirror: str = ""
) -> Material:
    """The files that belong to what was asked for; `values` is TOML, `authority` PEM, `mirror` a registry.

    Raises:
        UsageError: the engine cannot use it, or `mirror` is none.
    """
    files = []
    if values:
        # It may hold secrets: nobody but root reads it.
        files.append(Given(path=f"/{VALUES_FOLDER}/50-provision.toml", text=values, mode=0o600))
    if authority:
        folder = "docker" if engine is Engine.DOCKER else "containers"
        files.append(Given(path=f"/etc/{folder}/certs.d/{reference.place}/ca.crt", text=authority))
        if engine is Engine.DOCKER:  # ashore reads both, and upgrades go without Docker
            files.append(Given(path=f"/etc/containers/certs.d/{reference.place}/ca.crt", text=authority))
    if mirror:
        if not is_location(mirror):
            raise UsageError(
                "--mirror is not a registry", cause=f"{mirror[:200]!r}", remedy="HOST[:PORT][/PATH], without https://"
            )
        if engine is Engine.DOCKER:
            raise UsageError(
                "Docker pulls through no mirror of this registry",
                remedy="use --engine podman or none, or name the mirror",
            )
        text = f'[[registry]]\nlocation = "{reference.place}"\n\n[[registry.mirror]]\nlocation = "{mirror}"\n'
        files.append(Given(path="/etc/containers/registries.conf.d/50-ashore.conf", text=text))
    return Material(unit=unit, files=tuple(files))
