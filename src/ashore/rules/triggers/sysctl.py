# SPDX-License-Identifier: Apache-2.0
"""Kernel settings of sysctl.d(5) files: which they name, and to what. Pure."""

from collections.abc import Iterable, Mapping

ROOT = "proc/sys/"


def assignments(text: str) -> dict[str, str]:
    """The settings of a file, by path below the root (globs included), with their values; the last of one wins.

    A line that only excludes (``-net.ipv4.conf.lo.rp_filter``) has no value and is left out.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        key, equals, value = line.partition("=")
        if equals:
            found[ROOT + _normalized(key.strip().removeprefix("-").strip())] = plain(value)
    return found


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


_SWAPPED = str.maketrans("./", "/.")


def _normalized(key: str) -> str:
    """Slashes and dots as sysctl.d(5) has them: whichever comes first separates."""
    first = next((char for char in key if char in "./"), "/")
    return (key.translate(_SWAPPED) if first == "." else key).strip("/")
