# SPDX-License-Identifier: Apache-2.0
"""Staged files that no step has claimed yet, by content: one is found as fast among many alike as among few."""

import msgspec

from ashore.mechanisms.stage.newfolders import TREE
from ashore.nouns.digest import Digest
from ashore.nouns.files import Stat


class Loose(msgspec.Struct, gc=False, frozen=True):
    """A staged file that no step has claimed yet: where, and its inode's number, mode and owner as it was made.

    `stat` is how it lies there if nothing has touched it since.
    """

    area: int
    name: str
    inode: int
    mode: int
    uid: int
    gid: int
    stat: Stat | None = None

    @property
    def carried(self) -> bool:
        """Whether it lies in a new folder, with which it would come to the place that it is for."""
        return self.name.startswith(f"{TREE}/")


class LooseFiles:
    """Those of one transaction. Thousands that are alike are nothing rare: of a tree of Python, the empty ones."""

    def __init__(self) -> None:
        self._lying: dict[tuple[Digest, int, bool], dict[str, Loose]] = {}
        """By content, area and whether they are `carried`; then by name. Never empty."""
        self._kinds: set[tuple[int, bool]] = set()
        """Of areas, and of carried or not, that there ever were: a handful."""

    def __len__(self) -> int:
        return sum(map(len, self._lying.values()))

    def of(self, digest: Digest) -> Loose | None:
        """One with this content, wherever."""
        for area, carried in self._kinds:
            for loose in self._lying.get((digest, area, carried), {}).values():
                return loose
        return None

    def offer(self, digest: Digest, loose: Loose) -> None:
        """A file with this content lies ready."""
        kind = (loose.area, loose.carried)
        self._kinds.add(kind)
        self._lying.setdefault((digest, *kind), {})[loose.name] = loose

    def release(self, digest: Digest, loose: Loose) -> bool:
        """Somebody else has it from now on; False if a step has it already."""
        return self._taken(digest, loose.area, carried=loose.carried, name=loose.name) is not None

    def claim(self, digest: Digest, area: int, path: str) -> Loose | None:
        """Take one of this content in this area: the one that came for `path`, else at best one that is not carried."""
        return (
            self._taken(digest, area, carried=True, name=f"{TREE}/{path}")
            or self._taken(digest, area, carried=False)
            or self._taken(digest, area, carried=True)
        )

    def take_carried(self) -> list[Loose]:
        """Those that lie in new folders: they are forgotten."""
        found = []
        for digest, area, carried in list(self._lying):
            if carried:
                while (loose := self._taken(digest, area, carried=True)) is not None:
                    found.append(loose)
        return found

    def _taken(self, digest: Digest, area: int, *, carried: bool, name: str = "") -> Loose | None:
        """The one of this name, or any."""
        lying = self._lying.get((digest, area, carried))
        if lying is None or (name and name not in lying):
            return None
        loose = lying.pop(name) if name else lying.popitem()[1]
        if not lying:
            del self._lying[(digest, area, carried)]
        return loose
