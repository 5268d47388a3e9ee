# SPDX-License-Identifier: Apache-2.0
"""Users and groups that sysusers.d(5) files make, and what stands for their numbers until they are made. Pure."""

import zlib
from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.files import Entry
from ashore.nouns.owners import Owners
from ashore.rules.units import unitfile


class Newcomers(msgspec.Struct, frozen=True, kw_only=True):
    """Names that a file makes users and groups of."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


def newcomers(text: str) -> Newcomers:
    """The users and groups of a file. A user brings a group of its name, unless it names another."""
    users, groups = set(), set()
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue
        words = unitfile.words(line)
        if len(words) < 2 or "%" in words[1]:
            continue
        kind, name = words[0].rstrip("!-"), words[1]
        if kind == "u":
            users.add(name)
            group = words[2].partition(":")[2] if len(words) > 2 else ""
            groups |= set() if group else {name}
        elif kind == "g":
            groups.add(name)
        elif kind == "m" and len(words) > 2:
            users.add(name)
            groups.add(words[2])
    return Newcomers(users=frozenset(users), groups=frozenset(groups))


def with_newcomers(owners: Owners, texts: Iterable[str]) -> Owners:
    """`owners`, and for each name that is new a number below zero, which no file system knows."""
    users, groups = dict(owners.users), dict(owners.groups)
    for text in texts:
        made = newcomers(text)
        users |= {name: stand_in("user", name) for name in sorted(made.users) if name not in users}
        groups |= {name: stand_in("group", name) for name in sorted(made.groups) if name not in groups}
    return Owners(users=users, groups=groups)


def stand_in(kind: str, name: str) -> int:
    """The number that stands for a user or group which is not made yet: the same at each rendering."""
    return -2 - zlib.crc32(f"{kind} {name}".encode())


def settled(entry: Entry, ids: Mapping[int, int]) -> Entry:
    """`entry` with the numbers that its owners got."""
    if entry.uid >= 0 and entry.gid >= 0:
        return entry
    return msgspec.structs.replace(entry, uid=ids.get(entry.uid, entry.uid), gid=ids.get(entry.gid, entry.gid))
