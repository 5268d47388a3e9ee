# SPDX-License-Identifier: Apache-2.0
"""``etc/ashore/config.toml``: what the host's owner wants of ashore."""

from typing import Any, cast

import msgspec

from ashore.errors import AshoreError, InputError, Issue, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.nouns import reference, toml, window
from ashore.nouns.config import CONFIG_PATH, HostConfig, Pull
from ashore.nouns.files import shown
from ashore.nouns.limits import DEFAULT, FIXED
from ashore.nouns.shape import Amount, At, Count, Field, ListOf, OneOf, Schema, Seconds, Table, Text

_MOST = {"zstd_window_log": 31}
"""What a decoder can do at all."""


def _limit(name: str, default: object) -> Field:
    return Field(Seconds() if isinstance(default, float) else Amount(_MOST.get(name, Amount().most)), "see limits.md")


class _Windows:
    """One maintenance window, or several: ``"Mon..Fri 02:00-04:00"``."""

    def read(self, value: object, at: At) -> object:
        texts = ListOf(Text(100)).read([value] if isinstance(value, str) else value, at)
        if not isinstance(texts, tuple):
            return texts
        found = []
        for text in texts:
            try:
                found.append(window.parse(text))
            except ValueError as error:
                at.problem(f"{at}: {error}")
        return tuple(found)

    def schema(self) -> Schema:
        one = {"type": "string", "pattern": window.PATTERN}
        return {"anyOf": [one, {"type": "array", "items": one}]}


_LIMITS = {n: _limit(n, value) for n, value in msgspec.structs.asdict(DEFAULT).items() if n not in FIXED}
_DOCUMENT = Table(
    {
        "bundles": Field(ListOf(Text()), "images that belong on this host"),
        "pull": Field(OneOf(Pull), "when to ask the registry at boot"),
        "keep": Field(Count(1, 1000), "generations to keep"),
        "window": Field(_Windows(), "when changes may be made by themselves; any time if not said"),
        "random_delay": Field(Seconds(), "spreads the hosts of a fleet over so long"),
        "limits": Field(Table(_LIMITS), "what is taken from outside, at the most"),
    }
)


def read_config(host: Beneath) -> HostConfig:
    """The file's settings, or the defaults where there is no file.

    Raises:
        InputError: all that is wrong with it, with ``file:line``.
    """
    where = shown(CONFIG_PATH)
    try:
        data = host.read_bytes(CONFIG_PATH, DEFAULT.bundle_toml)
    except FileNotFoundError:
        return HostConfig()
    except OSError as error:
        raise InputError(f"cannot read {where}", cause=words_of(error)) from error
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
    read["limits"] = msgspec.structs.replace(DEFAULT, **read.get("limits", {}))
    return HostConfig(**read)
