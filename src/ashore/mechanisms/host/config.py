# SPDX-License-Identifier: Apache-2.0
"""``etc/ashore/config.toml``: what the host's owner wants of ashore."""

from typing import Any, cast

from ashore.errors import AshoreError, InputError, Issue
from ashore.mechanisms.beneath import Beneath
from ashore.nouns import reference, toml
from ashore.nouns.config import CONFIG_PATH, HostConfig, Pull
from ashore.nouns.files import shown
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.shape import At, Count, Field, ListOf, OneOf, Seconds, Table, Text

_DOCUMENT = Table(
    {
        "bundles": Field(ListOf(Text()), "images that belong on this host"),
        "pull": Field(OneOf(Pull), "when to ask the registry at boot"),
        "keep": Field(Count(1, 1000), "generations to keep"),
        "window": Field(Text(), "when changes may be made by themselves"),
        "random_delay": Field(Seconds(), "spreads the hosts of a fleet over so long"),
    }
)


def read_config(host: Beneath, limits: Limits = DEFAULT) -> HostConfig:
    """The file's settings, or the defaults where there is no file.

    Raises:
        InputError: all that is wrong with it, with ``file:line``.
    """
    where = shown(CONFIG_PATH)
    try:
        data = host.read_bytes(CONFIG_PATH, limits.bundle_toml)
    except FileNotFoundError:
        return HostConfig()
    except OSError as error:
        raise InputError(f"cannot read {where}", cause=error.strerror or str(error)) from error
    issues: list[Issue] = []
    at = At(toml.parse(data, where), issues)
    read = cast("dict[str, Any]", _DOCUMENT.read(dict(at.document.data), at))
    for number, name in enumerate(read.get("bundles", ())):
        try:
            reference.parse(name)
        except AshoreError as error:
            at.below("bundles").below(number).problem(str(error), error.remedy)
    if issues:
        raise InputError(f"{where} is wrong", issues=issues)
    return HostConfig(**read)
