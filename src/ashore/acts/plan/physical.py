# SPDX-License-Identifier: Apache-2.0
"""Where a bundle's paths lie on this host: ``lib/x`` at ``usr/lib/x`` where /lib is a symlink."""

import functools
from collections.abc import Collection, Mapping

import msgspec

from ashore.acts.tools import Tools
from ashore.errors import InputError, Issue
from ashore.mechanisms.beneath import Following
from ashore.mechanisms.state.state import place as place_of_state
from ashore.nouns.config import STATE_FOLDER
from ashore.nouns.files import Kind, Wanted, parent, shown
from ashore.nouns.generation import Generation
from ashore.rules.bundles.placeable import forbidden


def physical(tools: Tools, rendered: Mapping[str, Wanted], current: Generation) -> tuple[Wanted, ...]:
    """What a bundle wants, at the paths and with the owner that it has on this host.

    Raises:
        InputError: a path cannot be followed, or leads where nothing may be placed.
    """
    owner = tools.owner
    ours = {path for path, record in current.files.items() if record.entry.kind is Kind.SYMLINK}
    folders = _Folders(Following(tools.host), ours)
    moved = _moved(rendered, folders)
    _check_state(rendered, moved, place_of_state(tools.host))
    if not moved and owner is None:  # as on most hosts
        return tuple(rendered.values())
    result = []
    for path, wanted in rendered.items():
        entry = wanted.entry
        if entry.link:
            entry = msgspec.structs.replace(entry, link=moved.get(entry.link, entry.link))
        if owner is not None:
            entry = msgspec.structs.replace(entry, uid=owner[0], gid=owner[1])
        place = moved.get(path, path)
        if entry is not wanted.entry or place != path:
            through = folders.links(path if entry.kind is Kind.DIR else parent(path)) if place != path else ()
            wanted = msgspec.structs.replace(wanted, path=place, entry=entry, through=through)
        if place:
            result.append(wanted)
    return tuple(result)


def _check_state(rendered: Mapping[str, Wanted], moved: Mapping[str, str], state: str) -> None:
    """Nothing of a bundle lies in ashore's state, also where a symlink of the host puts that elsewhere."""
    if state == STATE_FOLDER:
        return  # `forbidden` knows it
    for path, item in rendered.items():
        if f"{moved.get(path, path)}/".startswith(f"{state}/"):
            issue = Issue(where=shown(path), message=f"{shown(state)} is ashore's own, by {shown(STATE_FOLDER)}")
            raise InputError(f"the bundle {item.bundle} cannot be used", issues=[issue])


def _moved(wanted: Mapping[str, Wanted], folders: "_Folders") -> dict[str, str]:
    """Of the paths that lie elsewhere on this host: where."""
    elsewhere: dict[str, str] = {}
    for folder in dict.fromkeys(p if w.entry.kind is Kind.DIR else parent(p) for p, w in wanted.items()):
        try:
            place = folders.physical(folder)
        except OSError as error:
            raise InputError(f"{shown(folder)} cannot be followed on this host", cause=str(error)) from error
        if place != folder:
            elsewhere[folder] = place
    moved: dict[str, str] = {}
    for path, item in wanted.items() if elsewhere else ():
        above = parent(path)
        if item.entry.kind is Kind.DIR and path in elsewhere:
            moved[path] = elsewhere[path]
        elif item.entry.kind is not Kind.DIR and above in elsewhere:
            name = path.rpartition("/")[2]
            moved[path] = f"{elsewhere[above]}/{name}" if elsewhere[above] else name
        if message := forbidden(moved.get(path, "")):  # by a symlink of the host: /var/run is /run
            where = f"{shown(path)}, which is {shown(moved[path])} on this host"
            raise InputError(f"the bundle {item.bundle} cannot be used", issues=[Issue(where=where, message=message)])
    return moved


class _Folders:
    """Physical folders, where a symlink of a bundle's is not followed: it leads where a bundle says, not the host.

    What is to lie below one needs a folder in its place; whether that can be, planning says.
    """

    def __init__(self, following: Following, ours: Collection[str]) -> None:
        self._following, self._ours = following, ours
        self.physical = functools.cache(self._physical)
        self._below_ours = functools.cache(self._by_ours)

    def links(self, folder: str) -> tuple[str, ...]:
        """The symlinks of the host that lead there from where the bundle has it."""
        return () if self._ours and self._below_ours(folder) else self._following.links(folder)

    def _physical(self, folder: str) -> str:
        return (self._below_ours(folder) if self._ours else "") or self._following.folder(folder)

    def _by_ours(self, folder: str) -> str:
        """The folder as it lies at or below the place of a bundle's symlink; empty if it does not."""
        if not folder:
            return ""
        above, _, name = folder.rpartition("/")
        if found := self._below_ours(above):
            return f"{found}/{name}"
        link = self._following.physical(folder)
        return link if link in self._ours else ""
