# SPDX-License-Identifier: Apache-2.0
"""What a layer's archive says of one path, before anything is decided about it."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Member(StrEnum):
    """The kinds of archive members that ashore tells apart."""

    FILE = "file"
    DIR = "dir"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    OTHER = "other"
    """A device, FIFO, sparse file or a vendor's type: read past, never placed."""


class TarEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One member of an archive. The bare archive root is the empty name.

    `name`, and a hard link's `target`, are relative and normalised: no ``.``, ``..``, empty parts or
    trailing slash; bytes that are not UTF-8 are surrogates. A symlink's `target` is as it was written.
    """

    name: str
    kind: Member
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    xattrs: Mapping[str, bytes] = {}
    what: str = ""
    """For people: what a member of kind `OTHER` is."""
