# SPDX-License-Identifier: Apache-2.0
"""Folders that somebody made where a bundle has a file: what is in them, where nobody is there to move them away."""

from collections.abc import Iterator

from ashore.acts.tools import Tools
from ashore.nouns.files import FileSet, Kind
from ashore.nouns.generation import Generation
from ashore.rules.files.conflicts import IN_THE_WAY


def in_the_way(tools: Tools, current: Generation, desired: FileSet) -> dict[str, str]:
    """Each such folder and all that lies in it, but what ashore has a record of; each with why it goes."""
    files = (path for path, wanted in desired.items() if wanted.entry.kind is not Kind.DIR and not wanted.absent)
    found = {below for path in files for below in _lying(tools, path) if not _is_ours(tools, current, below)}
    return dict.fromkeys(sorted(found), IN_THE_WAY)


def _lying(tools: Tools, path: str) -> Iterator[str]:
    """A folder, and all below it; nothing if it is none."""
    if not tools.host.is_folder(path):
        return
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        yield folder
        for name in tools.host.listdir(folder):
            below = f"{folder}/{name}"
            if tools.host.is_folder(below):
                waiting.append(below)
            else:
                yield below


def _is_ours(tools: Tools, current: Generation, path: str) -> bool:
    """Whether a record says what becomes of it: that of a folder where one lies, or of a file where none does."""
    record = current.files.get(path)
    return record is not None and (record.entry.kind is Kind.DIR) is tools.host.is_folder(path)
