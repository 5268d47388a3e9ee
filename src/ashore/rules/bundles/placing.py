# SPDX-License-Identifier: Apache-2.0
"""Which [[files]] entries of a bundle apply to a path, and where a path of its tree lies on the host. No I/O."""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache

import msgspec

from ashore.nouns.bundle import TEMPLATE_SUFFIX, BundleManifest, FileRule
from ashore.nouns.files import Kind

_GLOB = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """Whether `pattern` can name more than one path."""
    return not _GLOB.isdisjoint(pattern)


def matches(pattern: str, path: str) -> bool:
    """Whether `path` is named by `pattern`, by parts: ``*`` stays within a name, ``**`` is any number of folders."""
    return pattern == path or ((glob := _glob(pattern)) is not None and _names(glob, path))


class _Glob(msgspec.Struct, frozen=True):
    """A pattern taken apart once, for thousands of paths."""

    literal: str
    """What each path that it names begins with."""
    parts: tuple[Callable[[str], object] | None, ...]
    """What tells a part that fits; None for ``**``."""


@lru_cache(maxsize=1 << 14)
def _glob(pattern: str) -> _Glob | None:
    if not is_glob(pattern):
        return None
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rstrip("/")
    parts = (None if part == "**" else re.compile(translate(part)).match for part in pattern.split("/"))
    return _Glob(literal, tuple(parts))


def _names(glob: _Glob, path: str) -> bool:
    if not path.startswith(glob.literal):
        return False
    parts, reachable = path.split("/"), {0}
    for fits in glob.parts:
        if fits is None:
            reachable = set(range(min(reachable), len(parts) + 1)) if reachable else set()
        else:
            reachable = {at + 1 for at in reachable if at < len(parts) and fits(parts[at])}
    return len(parts) in reachable


def any_matches(patterns: Iterable[str], path: str) -> bool:
    """Whether one of `patterns` names `path`."""
    return any(matches(pattern, path) for pattern in patterns)


def is_template(manifest: BundleManifest | None, path: str, kind: Kind) -> bool:
    """Whether the file `path` below root/ is rendered with Jinja2, and loses its suffix."""
    return kind is Kind.FILE and path.endswith(TEMPLATE_SUFFIX) and not is_shell(manifest, path, kind)


def is_shell(manifest: BundleManifest | None, path: str, kind: Kind) -> bool:
    """Whether ``$NAME`` is expanded in the file `path` below root/: [templates] shell names it."""
    if manifest is None or not manifest.shell_templates:  # nearly all bundles
        return False
    return kind is Kind.FILE and any_matches(manifest.shell_templates, path)


def host_path(manifest: BundleManifest | None, path: str, kind: Kind) -> str:
    """Where a path below root/ lies on the host."""
    if not path.endswith(TEMPLATE_SUFFIX):
        return path
    return path.removesuffix(TEMPLATE_SUFFIX) if is_template(manifest, path, kind) else path


def rule_for(manifest: BundleManifest, path: str, kind: Kind) -> FileRule:
    """What [[files]] says of `path` below root/, all entries that name it laid over each other.

    An entry names a template with or without its suffix. A glob names files and symlinks, never
    folders: ``mode = "0600"`` for ``opt/app/**`` must not close the folders.
    """
    merged = FileRule(path=path)
    if not manifest.files:
        return merged
    names = {path, host_path(manifest, path, kind)}
    for rule in manifest.files:
        glob = _glob(rule.path) if kind is not Kind.DIR else None
        if rule.path in names or (glob is not None and any(_names(glob, name) for name in names)):
            said = {key: value for key, value in msgspec.structs.asdict(rule).items() if value is not None}
            merged = msgspec.structs.replace(merged, **(said | {"path": path}))
    return merged
