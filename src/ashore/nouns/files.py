# SPDX-License-Identifier: Apache-2.0
"""What a host should hold, and what lies on it: entries by path.

A path is text relative to the root, without a leading slash, and physical: no part of it but the last
is a symlink. Paths that are not UTF-8 carry surrogates, as `os.fsdecode` makes them.

What there is for each path has gc=False, here and in other nouns: there are tens of thousands, each is smaller so,
and none can be part of a cycle.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

import msgspec

from ashore.nouns.digest import Digest


class Kind(StrEnum):
    FILE = "file"
    DIR = "dir"
    SYMLINK = "symlink"
    OTHER = "other"
    """A device, FIFO or socket: seen on hosts, never placed."""


class Entry(msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """One path's desired or observed state. Two equal entries need no step between them.

    `mode` is the permission bits (0 to 0o7777; 0o777 for symlinks), `size` in bytes and `digest` are a
    file's, `target` a symlink's. `link` is the first path of a group of hard links within a bundle.
    """

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    digest: Digest = Digest("")
    target: str = ""
    xattrs: Mapping[str, bytes] = {}
    link: str = ""

    def same_content(self, other: "Entry | None") -> bool:
        """Whether only mode, owner, xattrs or linkage differ."""
        return other is not None and (self.kind, self.digest, self.target) == (
            other.kind,
            other.digest,
            other.target,
        )

    def same(self, other: "Entry | None") -> bool:
        """Whether nothing that a reader of the path could see differs."""
        return self == other or (
            other is not None
            and self.same_content(other)
            and (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid)
            and dict(self.xattrs) == dict(other.xattrs)
        )


class Stat(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A path's identity and change marks. An equal one means unchanged content; another means: hash it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Seen(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A path as it lies on the host."""

    entry: Entry
    stat: Stat
    links: int = 1
    """Names of the inode (``st_nlink``)."""


class OnEdit(StrEnum):
    """What to do with a file that somebody edited on the host."""

    KEEP = "keep"
    MERGE = "merge"
    REPLACE = "replace"
    ABORT = "abort"


class Decided(StrEnum):
    """What somebody said about a new version that waits."""

    TAKE = "take"
    KEEP = "keep"


class Wanted(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One path of a file set: what should lie there, for whom, and how to treat what does."""

    path: str
    entry: Entry
    bundle: str
    on_edit: OnEdit = OnEdit.KEEP
    adopt: bool = False
    settled: bool = False
    """Of a bundle that this transaction is not about: whatever lies there stays, by any policy."""
    restored: bool = False
    """Of a version that a rollback brings back: it was accepted once."""
    edit: Entry | None = None
    """What lay there then, where that was not `entry` itself: an edit to bring back with it, or an older version."""
    absent: bool = False
    """Nothing lay there then: somebody had deleted it."""
    edit_of: Entry | None = None
    """The version that the edit was made of, where `entry` only waited."""
    decided: Decided | None = None
    others: Mapping[str, Entry] = {}
    """Of a folder, or a symlink that enables a unit: the other bundles that have it as well, each with what it says."""
    through: tuple[str, ...] = ()
    """Symlinks of the host on the way from where the bundle has it to `path`."""
    secret: bool = False
    """It holds a secret value: its content is shown nowhere."""
    validate: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


FileSet = Mapping[str, Wanted]
"""All that the bundles of a host want, rendered, by path."""

_OCTAL = re.compile(r"0?[0-7]{3,4}")


def parse_mode(text: str) -> int:
    """``"0644"`` -> 0o644.

    Raises:
        ValueError: `text` is not three or four octal digits.
    """
    if not _OCTAL.fullmatch(text):
        raise ValueError(f'{text!r} is not a mode: write four octal digits, like "0644"')
    return int(text, 8)


def format_mode(mode: int) -> str:
    """0o644 -> ``"0644"``."""
    return f"{mode:04o}"


def parent(path: str) -> str:
    """``"etc/x"`` -> ``"etc"``; the root itself is the empty path."""
    return path.rpartition("/")[0]


def ancestors(path: str) -> tuple[str, ...]:
    """The folders above `path`, outermost first, without the root."""
    return _down_to(path.rpartition("/")[0])


@lru_cache(4096)
def _down_to(folder: str) -> tuple[str, ...]:
    found, at = [], folder.find("/")
    while at != -1:
        found.append(folder[:at])
        at = folder.find("/", at + 1)
    return (*found, folder) if folder else ()


def folders_of(paths: Iterable[str]) -> set[str]:
    """All folders above any of `paths`, without the root."""
    found = {path.rpartition("/")[0] for path in paths}
    for folder in tuple(found):
        above = folder.rpartition("/")[0]
        while above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return found - {""}


def shown(path: str) -> str:
    """A path for people: with a leading slash, and nothing that a terminal would obey."""
    return "/" + printable(path)


def printable(text: str) -> str:
    """`text` with control characters, bidi marks and bytes that are not UTF-8 escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
