# SPDX-License-Identifier: Apache-2.0
"""Folders that the host does not have yet: put together in a staging folder, and placed whole, by one rename.

A file of such a folder is written under its own name at once; thousands of renames, one for each, are not needed.
Below `TREE` in the staging folder lies each at its physical path. Going back is by each path, as for all others.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

from ashore.mechanisms.attributes import may_own
from ashore.nouns.files import ancestors, parent

TREE = "n"
_MODE = 0o755
"""Nobody else enters a staging folder: with the mode that most folders have, few must be changed later."""


class NewFolders:
    """The new folders of one transaction."""

    def __init__(self, descriptor: Callable[[int], int], standing: Callable[[str], str]) -> None:
        """`descriptor` is an area's; `standing` tells the nearest folder of the host that is there."""
        self._descriptor, self._standing = descriptor, standing
        self._made: dict[str, int] = {}
        self._above: set[tuple[int, str]] = set()
        self._placed: set[str] = set()

    def name_for(self, area: int, path: str) -> str | None:
        """The name in the area for a file that will lie at a physical path; None where its folder is there already."""
        folder = parent(path)
        if folder not in self._made:
            # Who cannot give files away cannot always move a folder either: a read-only one is moved by root alone.
            if not may_own() or self._standing(folder) == folder:
                return None
            self._make(area, folder)
        return f"{TREE}/{path}"

    def folder(self, path: str) -> tuple[int, str] | None:
        """Area and name of a new folder that was put together here; from now on it is placed with its content."""
        if path not in self._made:
            return None
        self._placed.add(path)
        return self._made[path], f"{TREE}/{path}"

    def carries(self, path: str) -> bool:
        """Whether what lies in the folder of a path comes to its place with that."""
        return parent(path) in self._placed

    def beside(self, path: str) -> str:
        """The name by which something comes to `path` with its folder; empty where that is there or made later."""
        return f"{TREE}/{path}" if self.carries(path) and path not in self._made else ""

    def clear(self, unclaimed: Iterable[tuple[int, str]]) -> None:
        """Take out of the folders that are placed what no step claimed: files by area and name, and folders."""
        for area, name in unclaimed:
            if self._goes_along(name.removeprefix(f"{TREE}/")):
                os.unlink(name, dir_fd=self._descriptor(area))
        for folder in sorted(self._made.keys() - self._placed, reverse=True):
            if self._goes_along(folder):
                os.rmdir(f"{TREE}/{folder}", dir_fd=self._descriptor(self._made[folder]))

    def _goes_along(self, path: str) -> bool:
        """Whether a folder at any height above a path is placed, and takes along what is below it."""
        return not self._placed.isdisjoint(ancestors(path))

    def _make(self, area: int, folder: str) -> None:
        standing = self._standing(folder)
        descriptor = self._descriptor(area)
        if (area, "") not in self._above:
            self._above.add((area, ""))
            os.mkdir(TREE, 0o700, dir_fd=descriptor)
        for at in (*ancestors(folder), folder):
            if (area, at) not in self._above:
                self._above.add((area, at))
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{TREE}/{at}", _MODE, dir_fd=descriptor)
                if len(at) > len(standing):
                    self._made[at] = area
