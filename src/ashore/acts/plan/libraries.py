# SPDX-License-Identifier: Apache-2.0
"""Libraries of bundles, as the dynamic linker of the host will see them: their names, and whose they hide."""

import contextlib
import functools
import os
from collections.abc import Iterable

from ashore.acts.tools import Tools
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.host.packages import owners
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, FileSet, Kind, parent, shown
from ashore.nouns.generation import Generation
from ashore.rules.libraries import elf, linker
from ashore.rules.triggers.kinds import Kind as Trigger
from ashore.rules.triggers.kinds import kind_of


class Libraries:
    """What bundles want of libraries; everything is read when it is first asked for."""

    def __init__(self, tools: Tools, current: Generation, desired: FileSet, supply: Supply) -> None:
        self._tools, self._current, self._desired, self._supply = tools, current, desired, supply
        self._names: dict[Digest, str] = {}

    @functools.cached_property
    def folders(self) -> tuple[str, ...]:
        """Where the linker will look, in order: the host's configuration with that of the bundles."""
        host, most = self._tools.host, self._tools.limits.template
        there: list[str] = []
        with contextlib.suppress(OSError):
            there += (f"{linker.CONFIGURATION_FOLDER}/{name}" for name in host.listdir(linker.CONFIGURATION_FOLDER))
        texts = {
            path: text for path in (*there, linker.CONFIGURATION) if (text := host.text_of(path, most)) is not None
        }
        for path in self._current.files.keys() - self._desired.keys() & texts.keys():
            del texts[path]
        for path, wanted in self._desired.items():
            if kind_of(path) is Trigger.LINKER and wanted.entry.kind is Kind.FILE:
                texts[path] = self._supply.text(wanted.entry.digest, most)
        return linker.search_folders(texts)

    def among(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those of `paths` at which ldconfig would look."""
        named = sorted(path for path in paths if linker.looks_like_library(path))
        return tuple(path for path in named if linker.is_library(path, self.folders)) if named else ()

    def links(self) -> frozenset[str]:
        """The paths by which programs ask for libraries of bundles, and at which ldconfig makes a symlink."""
        files = {path for path, wanted in self._desired.items() if wanted.entry.kind is Kind.FILE}
        found = {
            f"{parent(path)}/{name}"
            for path in self.among(files)
            if (name := self._name(self._desired[path].entry)) and "/" not in name
        }
        return frozenset(found - self._desired.keys())

    def shadows(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Notes on those of `paths`, which a plan places, that programs of the host will get instead of the host's."""
        wanted = [
            linker.Library(path=path, name=self._name(self._desired[path].entry) or path.rpartition("/")[2])
            for path in self.among(path for path in paths if path in self._desired)
        ]
        own = self._desired.keys() | self._current.files.keys() | self._current.made.keys()
        there = {path for path in linker.candidates(wanted, self.folders) - own if self._tools.host.is_there(path)}
        found = linker.shadows(wanted, self.folders, there)
        packages = owners(self._tools.host, [shadow.hides for shadow in found]) if found else {}
        return tuple(
            f"{shown(shadow.path)} comes before the host's own {shown(shadow.hides)}"
            + (f" (package {packages[shadow.hides]})" if shadow.hides in packages else "")
            + ": programs of the host will load it"
            for shadow in found
        )

    def _name(self, entry: Entry) -> str:
        """The SONAME; of each content once."""
        if entry.kind is not Kind.FILE:
            return ""
        if entry.digest not in self._names:
            descriptor = self._supply.open(entry.digest)
            if descriptor is None:
                return ""
            with closing(descriptor):
                self._names[entry.digest] = elf.soname(lambda offset, length: os.pread(descriptor, length, offset))
        return self._names[entry.digest]
