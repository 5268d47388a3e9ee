# SPDX-License-Identifier: Apache-2.0
"""Why a plan's changes concern a unit: each reason as the plan shows it. Pure."""

import fnmatch
import re
from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.units import UNIT_FOLDERS, HostUnits
from ashore.rules.units import unitfile
from ashore.rules.units.changes import Changes
from ashore.rules.units.conditions import differing
from ashore.rules.units.enablement import template_of, unit_of
from ashore.rules.units.unitfile import Setting
from ashore.rules.units.unitpaths import Changed, effective, named_paths, own_paths

LEFT_ALONE = (
    "ashore-*.service",
    "user@*.service",
    "*getty@*.service",
    "console-getty.service",
    "systemd-logind.service",
    "display-manager.service",
    "gdm*.service",
    "sddm.service",
    "lightdm.service",
    "dbus*.service",
)
"""Units whose restart would end somebody's session, or our own work: they are told of, and restarted by hand."""
_AT_WORK = re.compile(r"ashore-(?:(?:watch-)?[0-9a-f]{12}|recover|settle)\.service")


class Reaction(msgspec.Struct, frozen=True, kw_only=True):
    """What ``[[files]]`` declares for a path: units, and templates, which stand for all their instances."""

    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def reloads(self, unit: str) -> bool:
        return unit in self.reload or template_of(unit) in self.reload

    def restarts(self, unit: str) -> bool:
        return unit in self.restart or template_of(unit) in self.restart


_NO_REACTION = Reaction()


class Reasons:
    """The reasons that `changes` give units. `texts` are all unit files and drop-ins of the host to be, by path."""

    def __init__(
        self, changes: Changes, texts: Mapping[str, str], reactions: Mapping[str, Reaction], host: HostUnits
    ) -> None:
        self.changes = changes
        self._texts = texts
        self._reactions = reactions
        self._host = host
        self._all = changes.all
        self._changed = Changed(self._all, host.links)
        self._masks, self._unmasks = (
            frozenset(path for path in paths if path.rpartition("/")[0] in UNIT_FOLDERS)
            for paths in (changes.masks, changes.unmasks)
        )
        self._unit_files = [path for path in changes.contents if path.startswith(IN_UNIT_FOLDERS)]
        self._own: dict[str, tuple[str, ...]] = {}
        self._settings: dict[str, tuple[Setting, ...]] = {}
        self._named: dict[str, list[str]] = {}

    def own(self, unit: str, *, by_name: bool = False) -> list[str]:
        """Its unit file, its template's, or a drop-in changed, and a reload is not enough. With `by_name`, no drop-in
        for others as well as for it: ``service.d``, ``foo-.service.d``."""
        paths = self._own_changed(unit)
        if by_name:
            paths = tuple(path for path in paths if unit_of(path) in (unit, template_of(unit) or unit))
        return [f"{path} {self.changes.word(path)}" for path in paths if not self._reload_is_enough(unit, path)]

    def named(self, unit: str) -> list[str]:
        """A file that its settings name changed."""
        if unit not in self._named:
            self._named[unit] = self._look_for_named(unit)
        return self._named[unit]

    def mapped(self, unit: str) -> list[str]:
        """Its processes have the old content of a changed file in memory."""
        paths = [path for path in self._host.mapped.get(unit, ()) if not self._reload_is_enough(unit, path)]
        return [f"{path}, which it has in memory, {self.changes.word(path)}" for path in sorted(paths)]

    def conditions(self, unit: str) -> list[str]:
        """A condition on a path says something else than before."""
        return [
            f"{condition} says something else now"
            for condition in differing(unit, self.settings(unit), self.changes.steps, self._host.links)
        ]

    def reloads(self, unit: str) -> list[str]:
        """``reload`` of a changed file names it."""
        return self._told(path for path, reaction in self._reactions.items() if reaction.reloads(unit))

    def restarts(self, unit: str) -> list[str]:
        """``restart`` of a changed file names it."""
        return self._told(path for path, reaction in self._reactions.items() if reaction.restarts(unit))

    def _told(self, paths: Iterable[str]) -> list[str]:
        changed = sorted(path for path in paths if path in self._all or path in self.changes.folders)
        return [f"{path} {self.changes.word(path)}" for path in changed]

    def defined(self, unit: str) -> bool:
        """Whether a unit file remains that says what the unit is: one of the host, below that of a bundle."""
        return any(path.rpartition("/")[0] in UNIT_FOLDERS for path in own_paths(unit, self._texts))

    def masked_by(self, unit: str) -> str:
        """The path with which the plan masks it; empty if none does, or a file before it says otherwise."""
        paths = own_paths(unit, {*self._texts, *self._masks}) if self._masks else ()
        return paths[0] if paths and paths[0] in self._masks else ""

    def unmasked(self, unit: str) -> bool:
        """Whether the plan takes its mask away."""
        return bool(own_paths(unit, self._unmasks))

    def settings(self, unit: str) -> tuple[Setting, ...]:
        """The unit as PID 1 will read it."""
        if unit not in self._settings:
            paths = effective(own_paths(unit, self._texts))
            self._settings[unit] = unitfile.merged(self._texts[path] for path in paths)
        return self._settings[unit]

    def _own_changed(self, unit: str) -> tuple[str, ...]:
        if unit not in self._own:
            self._own[unit] = own_paths(unit, self._unit_files)
        return self._own[unit]

    def _look_for_named(self, unit: str) -> list[str]:
        own = {*self._own_changed(unit)}
        named = named_paths(unit, self.settings(unit))
        keys: dict[str, str] = {}
        for name, key in named.items():
            for path in self._changed.by(name):
                if path not in own and not self._reload_is_enough(unit, path):
                    keys.setdefault(path, key)
        return [f"{path}, named by {key}=, {self.changes.word(path)}" for path, key in sorted(keys.items())]

    def _reload_is_enough(self, unit: str, path: str) -> bool:
        return self._reactions.get(path, _NO_REACTION).reloads(unit)


def left_alone(unit: str) -> bool:
    """Whether it is not for us to restart the unit of the host for a file of it, or that it names or has in memory."""
    return any(fnmatch.fnmatchcase(unit, pattern) for pattern in LEFT_ALONE)


def carries_us(unit: str) -> bool:
    """Whether a change, its recovery or its watch runs in it: to restart that is to break it off, and begin again."""
    return bool(_AT_WORK.fullmatch(unit))


IN_UNIT_FOLDERS = tuple(folder + "/" for folder in UNIT_FOLDERS)
