# SPDX-License-Identifier: Apache-2.0
"""Which distribution package a path belongs to: dpkg's and rpm's databases, read through the root, no tool run.

A package may know a path by another name than the physical one: ``/bin/ls`` on a usr-merged host, or
the name before a diversion (dpkg-divert(1)).
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.host import rpm
from ashore.mechanisms.host.pristine import ucf_owners
from ashore.nouns.limits import MIB

_INFO = "var/lib/dpkg/info"
_DIVERSIONS = "var/lib/dpkg/diversions"
_LARGEST = 256 * MIB
_LOCAL = ":"


def owners(host: Beneath, paths: Iterable[str]) -> Mapping[str, str]:
    """The package of each of `paths` that has one. One pass over the databases, however many paths."""
    wanted = list(paths)
    if not wanted:
        return {}
    merged = _merged_folders(host)
    names = {path: (path, *_aliases(path, merged)) for path in wanted}
    return {**ucf_owners(host, wanted), **rpm.owners(host, names), **_dpkg(host, names)}


def _merged_folders(host: Beneath) -> Mapping[str, str]:
    """Top-level symlinks to folders: ``bin`` -> ``usr/bin``."""
    found = {}
    with contextlib.suppress(OSError):
        for name in host.listdir(""):
            with contextlib.suppress(OSError):
                found[name] = host.readlink(name).strip("/")
    return found


def _aliases(path: str, merged: Mapping[str, str]) -> Iterator[str]:
    for short, long in merged.items():
        for ours, theirs in ((long, short), (short, long)):
            if path.startswith(f"{ours}/"):
                yield theirs + path[len(ours) :]


def _dpkg(host: Beneath, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """dpkg's answer: ``PACKAGE.list`` or ``PACKAGE:ARCH.list`` has a path on each line."""
    try:
        lists = [name for name in host.listdir(_INFO) if name.endswith(".list")]
    except OSError:
        return {}
    claims = _claims(names, _diversions(host))
    asked = set(claims)
    found: dict[str, str] = {}
    for name in lists:
        package = name.removesuffix(".list").partition(":")[0]
        with contextlib.suppress(OSError):
            data = host.read_bytes(f"{_INFO}/{name}", _LARGEST)
            for line in asked.intersection(data.split(b"\n")):
                for path, only, never in claims[line]:
                    if only in ("", package) and never != package:
                        found.setdefault(path, package)
    return found


def _claims(
    names: Mapping[str, tuple[str, ...]], diversions: Mapping[str, tuple[str, str]]
) -> dict[bytes, list[tuple[str, str, str]]]:
    """Line of a list -> the paths that it speaks of, each with the package it must be, and must not be.

    Of a diverted name, only the diverting package has the file there; the others' lies at the new one.
    """
    moved_to = {target: (source, package) for source, (target, package) in diversions.items()}
    claims: dict[bytes, list[tuple[str, str, str]]] = {}
    for path, aliases in names.items():
        for alias in aliases:
            only = diversions[alias][1] if alias in diversions else ""
            claims.setdefault(os.fsencode(f"/{alias}"), []).append((path, only, ""))
            if alias in moved_to:
                source, diverter = moved_to[alias]
                claims.setdefault(os.fsencode(f"/{source}"), []).append((path, "", diverter))
    return claims


def _diversions(host: Beneath) -> Mapping[str, tuple[str, str]]:
    """Diverted name -> the new name, and the package that diverts (``:`` is the administrator)."""
    try:
        data = host.read_bytes(_DIVERSIONS, _LARGEST)
    except OSError:
        return {}
    lines = [os.fsdecode(line) for line in data.splitlines()]
    triples = zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    return {
        source.lstrip("/"): (target.lstrip("/"), package.partition(":")[0] or _LOCAL)
        for source, target, package in triples
    }
