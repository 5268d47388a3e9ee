# SPDX-License-Identifier: Apache-2.0
"""Kernel settings of sysctl.d(5) files: which they name, and to what. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping

from ashore.nouns.files import printable

ROOT = "proc/sys/"
REMEDY = "write KEY = VALUE"
"""For what `faults` finds."""
_ENDS = re.compile(r"\r?\n|\r|\0")
"""Not splitlines(): a value may hold what Unicode takes for the end of a line."""


def assignments(text: str) -> dict[str, str]:
    """The settings of a file, by path below the root (globs included), with their values; the last of one wins.

    A line that only excludes (``-net.ipv4.conf.lo.rp_filter``) has no value and is left out.
    """
    found: dict[str, str] = {}
    for _, line in _lines(text):
        key, equals, value = line.partition("=")
        if equals:
            found[_path(key)] = plain(value)
    return found


def faults(text: str) -> Iterator[tuple[int, str]]:
    """The lines that set nothing though they mean to, by number: the host's program fails for them."""
    for number, line in _lines(text):
        if not line.partition("=")[0].strip("- \t"):
            yield number, f"{printable(line[:80])!r} names no setting"
        elif "=" not in line and not line.startswith("-"):
            yield number, f"{printable(line[:80])!r} has no =: it sets nothing"


def needed(text: str) -> Iterator[str]:
    """The settings that a file names one by one and that have to be there: not those of a line with a - before it."""
    paths = (_path(line.partition("=")[0]) for _, line in _lines(text) if "=" in line and not line.startswith("-"))
    return (path for path in paths if not is_glob(path))


def all_assignments(texts: Iterable[str]) -> dict[str, str]:
    """Those of several files."""
    return {path: value for text in texts for path, value in assignments(text).items()}


def plain(value: str) -> str:
    """A value as it compares: the kernel separates by tabs what people separate by blanks."""
    return " ".join(value.split())


def is_glob(path: str) -> bool:
    return any(char in path for char in "*?[")


def expanded(values: Mapping[str, str], names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """`values` with each glob as the settings that it names on this host; a plain line outweighs a glob."""
    found = {name: value for path, value in values.items() if is_glob(path) for name in names.get(path, ())}
    return found | {path: value for path, value in values.items() if not is_glob(path)}


def shown(path: str) -> str:
    """``proc/sys/net/ipv4/ip_forward`` -> ``net.ipv4.ip_forward``; an interface's own dots become slashes."""
    return path.removeprefix(ROOT).translate(_SWAPPED) if path.startswith(ROOT) else f"/{path}"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(map(str.strip, _ENDS.split(text)), 1):
        if line and not line.startswith(("#", ";")):
            yield number, line


def _path(key: str) -> str:
    return ROOT + _normalized(key.strip().removeprefix("-").strip())


_SWAPPED = str.maketrans("./", "/.")


def _normalized(key: str) -> str:
    """Slashes and dots as sysctl.d(5) has them: whichever comes first separates."""
    first = next((char for char in key if char in "./"), "/")
    return (key.translate(_SWAPPED) if first == "." else key).strip("/")
