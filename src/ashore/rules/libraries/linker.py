# SPDX-License-Identifier: Apache-2.0
"""Where the dynamic linker looks for libraries, and whose it finds first: ld.so(8), ldconfig(8). Pure."""

import fnmatch
import posixpath
import re
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from ashore.nouns.files import parent
from ashore.rules.units.unitpaths import merged_usr

CONFIGURATION = "etc/ld.so.conf"
CONFIGURATION_FOLDER = "etc/ld.so.conf.d"
_TRUSTED = ("usr/lib", "usr/lib64")
"""Looked in last, whatever the configuration says."""
_LIBRARY = re.compile(r".+\.so(\.|$)")
_HWCAPS = re.compile(r"/glibc-hwcaps/[^/]+$")


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """A library that a plan places: its path, and the name that programs ask for."""

    path: str
    name: str


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """A library that programs of the host will get instead of the host's own."""

    path: str
    name: str
    hides: str


def looks_like_library(path: str) -> bool:
    """Whether a file of this name may be one: ``libx.so``, ``libx.so.1.2``."""
    return bool(_LIBRARY.match(path.rpartition("/")[2])) and not path.endswith((".conf", ".cache"))


def folder_of(path: str) -> str:
    """The searched folder that a library at `path` counts for: its variants for newer processors lie deeper."""
    return merged_usr(_HWCAPS.sub("", parent(path)))


def search_folders(texts: Mapping[str, str]) -> tuple[str, ...]:
    """The folders, physical on a merged /usr, in the order in which they are searched. `texts`: the linker's
    configuration by path."""
    found = list(_folders(CONFIGURATION, texts, frozenset()))
    return tuple(dict.fromkeys((*found, *_TRUSTED)))


def is_library(path: str, folders: Container[str]) -> bool:
    """Whether ldconfig would look at a file at `path`."""
    return looks_like_library(path) and folder_of(path) in folders


def candidates(libraries: Iterable[Library], folders: Sequence[str]) -> set[str]:
    """The paths at which the host may have the same names: look which of them exist for `shadows`."""
    return {f"{folder}/{library.name}" for library in libraries for folder in folders}


def shadows(libraries: Iterable[Library], folders: Sequence[str], host: Container[str]) -> tuple[Shadow, ...]:
    """Libraries that come before one of the host's of the same name. `host`: which `candidates` are the host's own."""
    found = []
    for library in libraries:
        folder = folder_of(library.path)
        if folder not in folders:
            continue
        for later in folders[folders.index(folder) :]:
            path = f"{later}/{library.name}"
            if path in host and path != merged_usr(library.path):
                found.append(Shadow(path=library.path, name=library.name, hides=path))
    return tuple(found)


def _folders(path: str, texts: Mapping[str, str], within: frozenset[str]) -> Iterable[str]:
    within |= {path}
    for line in texts.get(path, "").splitlines():
        line = line.partition("#")[0].strip()
        word, _, rest = line.partition(" ")
        if word == "include":
            for pattern in rest.split():
                pattern = _clean(pattern, "etc")
                for other in sorted(texts):
                    same_depth = other.count("/") == pattern.count("/")
                    if same_depth and other not in within and fnmatch.fnmatchcase(other, pattern):
                        yield from _folders(other, texts, within)
        elif line and word != "hwcap":
            yield merged_usr(_clean(line.partition("=")[0].strip(), ""))


def _clean(path: str, base: str) -> str:
    return posixpath.normpath(posixpath.join("/", base, path)).lstrip("/")
