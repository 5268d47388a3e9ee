# SPDX-License-Identifier: Apache-2.0
"""What tmpfiles.d(5) files make that can go again: folders while they are empty, and symlinks. Pure."""

import posixpath
from collections.abc import Iterable

from ashore.nouns.files import ancestors
from ashore.rules.units import unitfile

_FOLDERS = ("d", "D", "v", "q", "Q")
_LINK = "L"


def made_by(texts: Iterable[str]) -> tuple[str, ...]:
    """The folders and symlinks that the lines make, with the folders above them. Lines with specifiers are passed over:
    what they mean is known to systemd-tmpfiles alone."""
    found: set[str] = set()
    for text in texts:
        for line in text.splitlines():
            words = () if line.lstrip().startswith("#") else unitfile.words(line)
            if len(words) < 2 or "%" in words[1] or words[0][:1] not in (*_FOLDERS, _LINK):
                continue
            path = posixpath.normpath("/" + words[1]).lstrip("/")
            found |= {path, *ancestors(path)}
    return tuple(sorted(found))
