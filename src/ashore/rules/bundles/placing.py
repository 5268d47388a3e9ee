# SPDX-License-Identifier: Apache-2.0
"""Which [[files]] entries of a bundle apply to a path, and where a path of its tree lies on the host. No I/O."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from ashore.nouns.bundle import TEMPLATE_SUFFIX, BundleManifest, FileRule
from ashore.nouns.files import Kind

_GLOB = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """Whether `pattern` can name more than one path."""
    return not _GLOB.isdisjoint(pattern)


def matches(pattern: str, path: str) -> bool:
    """Whether `path` is named by `pattern`, by parts: ``*`` stays within a name, ``**`` is any number of folders."""
    return pattern == path or (is_glob(pattern) and _matches(tuple(pattern.split("/")), tuple(path.split("/"))))


def _matches(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    reachable = {0}
    for part in pattern:
        if part == "**":
            reachable = set(range(min(reachable), len(parts) + 1)) if reachable else set()
        else:
            reachable = {at + 1 for at in reachable if at < len(parts) and fnmatchcase(parts[at], part)}
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
        applies = not is_glob(rule.path) or kind is not Kind.DIR
        if applies and any(matches(rule.path, name) for name in names):
            said = {key: value for key, value in msgspec.structs.asdict(rule).items() if value is not None}
            merged = msgspec.structs.replace(merged, **(said | {"path": path}))
    return merged
