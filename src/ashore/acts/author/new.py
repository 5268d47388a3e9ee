# SPDX-License-Identifier: Apache-2.0
"""``ashore new``: a small bundle that lints clean, builds and installs as it is."""

import importlib.resources
import os
import tomllib

from ashore.errors import InputError
from ashore.mechanisms.images.folder import write_new
from ashore.nouns.files import printable
from ashore.nouns.shape import NAME

_PLACE = "@NAME@"


def new(folder: str) -> tuple[str, ...]:
    """Scaffold a bundle in a new `folder`, whose last part is its name; the paths that were written.

    Raises:
        InputError: the folder exists or cannot be made, or its name cannot be a bundle's.
    """
    name = os.path.basename(folder.rstrip(os.sep))
    if not NAME.fullmatch(name):
        remedy = "lower-case letters, digits, . _ and -, like kubernetes-worker"
        raise InputError(f"{printable(name)!r} cannot be a bundle's name", remedy=remedy)
    source = importlib.resources.files("ashore").joinpath("data", "scaffold.toml")
    scaffold: dict[str, str] = tomllib.loads(source.read_text(encoding="utf-8"))
    contents = {path.replace(_PLACE, name): text.replace(_PLACE, name) for path, text in scaffold.items()}
    write_new(folder, contents)
    return tuple(contents)
