# SPDX-License-Identifier: Apache-2.0
"""What a bundle's folder has in it: the text of its manifest, and the folders that hold trees. For build and lint."""

import os

from ashore.errors import InputError, Issue, words_of
from ashore.mechanisms.images import folder as folders
from ashore.nouns.bundle import MANIFEST_NAME
from ashore.nouns.files import printable
from ashore.nouns.limits import Limits
from ashore.rules.bundles.bundle import ROOT
from ashore.rules.images.packing import top_issue


def manifest_text(folder: str, limits: Limits) -> bytes | None:
    """The bytes of `bundle.toml`, one more than it may have at the most; None where there is none.

    Raises:
        InputError: it is no file, or cannot be read.
    """
    path = os.path.join(folder, MANIFEST_NAME)
    if not os.path.lexists(path):
        return None
    if not os.path.isfile(path):
        raise InputError(f"{printable(path)} is not a file", remedy="make it one, or a link to one, or remove it")
    return folders.read(folder, MANIFEST_NAME, limits.bundle_toml + 1)


def tops(folder: str) -> tuple[tuple[str, ...], list[Issue]]:
    """The names of the folders that hold trees, root/ first, and what looks like one and is none.

    A link to a folder is as good as a folder.

    Raises:
        InputError: `folder` is none, or cannot be read.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name == ROOT or name.startswith(f"{ROOT}."))
    except OSError as error:
        raise InputError(f"cannot read {printable(folder)}", cause=words_of(error)) from error
    found = [(name, top_issue(name, is_folder=os.path.isdir(os.path.join(folder, name)))) for name in names]
    whole = tuple(name for name, issue in found if not issue and os.path.isdir(os.path.join(folder, name)))
    return whole, [issue for _, issue in found if issue]
