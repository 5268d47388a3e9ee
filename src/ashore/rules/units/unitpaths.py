# SPDX-License-Identifier: Apache-2.0
"""Which paths a unit's settings name: what it runs, reads or is shown. Changing one is a reason to restart it."""

import bisect
import fnmatch
import posixpath
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ashore.nouns.files import ancestors
from ashore.nouns.units import UNIT_FOLDERS
from ashore.rules.units import unitfile
from ashore.rules.units.enablement import Shipped, drop_in_folders, is_drop_in, template_of, unit_of
from ashore.rules.units.unitfile import Setting

NO_LINKS: Mapping[str, str] = MappingProxyType({})
_SECTIONS = ("Service", "Socket", "Mount", "Swap")
_KEYS = (
    "Environment",
    "EnvironmentFile",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "BindPaths",
    "BindReadOnlyPaths",
    "WorkingDirectory",
    "RootDirectory",
    "RootImage",
    "What",
)
# A path begins a word, or follows what separates parts of one: --config=/etc/x, a:/b, -/etc/y, sh -c '... /z'.
_PATH = re.compile(r"""(?:^|[\s=:,;'"()<>|&@+!-])(/[^\s=:,;'"()<>|&$`]+)""")
_SPECIFIER = re.compile(r"%(.?)")
_SEARCH_PATHS = ("PATH=", "LD_LIBRARY_PATH=", "PYTHONPATH=")
"""Variables that name folders to search in: not a reason for what changes there."""
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
_MOST_LINKS = 40
"""As many as the kernel follows."""
_DEPTH = 2
"""A folder named in a unit stands for what lies below it from here on: ``/opt/app`` does, ``/etc`` does not."""


def own_paths(unit: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of `paths` that are the unit's file (or its template's) and drop-ins, in the order they apply."""
    files, drop_ins = [], []
    names, folders = {unit, template_of(unit)}, set(drop_in_folders(unit))
    for path in paths:
        name = _below_unit_folder(path)
        folder, slash, last = name.rpartition("/")
        if slash and folder in folders and is_drop_in(last):
            drop_ins.append(path)
        elif name and name in names:
            files.append(path)
    # The administrator's folder comes first and hides the others; drop-ins are read by file name.
    files.sort(key=lambda path: (path.rpartition("/")[2] != unit, _rank(path)))
    return (*files, *sorted(drop_ins, key=lambda path: (path.rpartition("/")[2], -_rank(path))))


def in_order(paths: Iterable[str]) -> list[str]:
    """Unit folders, or paths in them, the first one first: what lies there hides what has its name in the others."""
    return sorted(paths, key=lambda path: (_rank(f"{path}/"), path))


def shipped(texts: Mapping[str, str]) -> dict[str, Shipped]:
    """The units of a bundle by name, each with the file that systemd reads of those with its name."""
    files = [
        (unit, path) for path in reversed(in_order(texts)) if (unit := unit_of(path)) and path.endswith(f"/{unit}")
    ]
    return {unit: Shipped(path=path, text=texts[path]) for unit, path in files}


def effective(paths: Iterable[str]) -> tuple[str, ...]:
    """Of `own_paths`, those that systemd reads: the first unit file, and of drop-ins of one name the last."""
    files: list[str] = []
    drop_ins: dict[str, str] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder in UNIT_FOLDERS:
            files.append(path)
        else:
            drop_ins[name] = path
    return (*files[:1], *drop_ins.values())


def named_paths(unit: str, settings: Iterable[Setting]) -> dict[str, str]:
    """The paths (below the root, globs included) that the settings name, each with the key that does."""
    found: dict[str, str] = {}
    for key, value in _effective(tuple(settings)):
        for path in _paths_in(key, expanded(value, unit)):
            found.setdefault(path, key)
    return found


class Changed:
    """The paths that a plan changes, looked up by the names that units have for them.

    `links` are symlinks, with where they lead: plans have paths behind the host's own ones.
    """

    def __init__(self, paths: Iterable[str], links: Mapping[str, str] = NO_LINKS) -> None:
        self._links = links
        self._at = {merged_usr(path): path for path in paths}
        self._sorted = sorted(self._at)

    def by(self, named: str) -> list[str]:
        """Those whose change is one of `named`: itself, below it, a folder or link above it, or behind a link."""
        return list(dict.fromkeys(path for name in behind(named, self._links) for path in self._by(merged_usr(name))))

    def _by(self, named: str) -> list[str]:
        found = [self._at[above] for above in (*ancestors(named), named) if above in self._at]
        if any(char in named for char in "*?["):
            return found + [path for merged, path in self._at.items() if fnmatch.fnmatchcase(merged, named)]
        return found + (self._below(named + "/") if named.count("/") + 1 >= _DEPTH else [])

    def _below(self, folder: str) -> list[str]:
        at = bisect.bisect_left(self._sorted, folder)
        below = []
        while at < len(self._sorted) and self._sorted[at].startswith(folder):
            below.append(self._at[self._sorted[at]])
            at += 1
        return below


def behind(path: str, links: Mapping[str, str]) -> tuple[str, ...]:
    """`path`, and each name for it that the links on its way lead to: ``opt/bin``, ``var/opt/bin``."""
    found = [path]
    while len(found) <= _MOST_LINKS:
        path = found[-1]
        link = next((above for above in (*ancestors(path), path) if above in links), None)
        if link is None:
            break
        found.append((links[link] + path[len(link) :]).lstrip("/"))
    return tuple(found)


def merged_usr(path: str) -> str:
    """``bin/sh`` -> ``usr/bin/sh``: units and payloads use both names of one folder."""
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def expanded(value: str, unit: str) -> str:
    """`value` with the specifiers of systemd.unit(5) that the unit's name or the system manager fixes."""
    stem, _, _ = unit.rpartition(".")
    prefix, _, instance = stem.partition("@")
    known = {"%": "%", "n": unit, "N": stem, "p": prefix, "i": instance, "I": instance.replace("-", "/")}
    known |= {"j": prefix.rpartition("-")[2], "E": "/etc", "S": "/var/lib", "C": "/var/cache", "L": "/var/log"}
    known |= {"t": "/run", "h": "/root"}
    return _SPECIFIER.sub(lambda match: known.get(match[1], match[0]), value)


def _below_unit_folder(path: str) -> str:
    return next((path[len(f) + 1 :] for f in UNIT_FOLDERS if path.startswith(f + "/")), "")


def _rank(path: str) -> int:
    order = (UNIT_FOLDERS[0], UNIT_FOLDERS[2], UNIT_FOLDERS[1], UNIT_FOLDERS[3])
    return next((rank for rank, folder in enumerate(order) if path.startswith(folder + "/")), len(order))


def _effective(settings: tuple[Setting, ...]) -> Iterable[tuple[str, str]]:
    """Key and value of each assignment that no later empty one took back."""
    keys = dict.fromkeys((s.section, s.key) for s in settings if s.section in _SECTIONS)
    for section, key in keys:
        if key.startswith("Exec") or key in _KEYS or key == "ConfigurationDirectory":
            for value in unitfile.values(settings, section, key):
                yield key, value


def _paths_in(key: str, value: str) -> Iterable[str]:
    if key == "ConfigurationDirectory":
        yield from (_clean(f"etc/{word.partition(':')[0]}") for word in unitfile.words(value))
        return
    # A path of these two is the whole value, spaces included; a dash before it means: may be missing.
    words = (value.removeprefix("-"),) if key in {"EnvironmentFile", "WorkingDirectory"} else unitfile.words(value)
    for word in words:
        if key == "Environment" and word.startswith(_SEARCH_PATHS):
            continue
        if key == "EnvironmentFile":
            yield _clean(word)
            continue
        yield from (_clean(path) for path in _PATH.findall(word))


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path).lstrip("/")
