# SPDX-License-Identifier: Apache-2.0
"""Which paths set off which trigger. The order of `KINDS` is the order in which they run. Pure.

Sources: sysusers.d(5), ld.so(8), depmod.d(5), modules-load.d(5), sysctl.d(5), hwdb(7), udev(7), tmpfiles.d(5),
update-ca-certificates(8) of Debian and SUSE, update-ca-trust(8) of Fedora and Arch, Flatcar's documentation
("Setting up certificate authorities").
"""

import functools
from collections.abc import Iterable, Mapping
from enum import StrEnum

from ashore.rules.bundles.placing import matches
from ashore.rules.units.unitpaths import merged_usr


class Kind(StrEnum):
    """The triggers, in the order in which they run."""

    SYSUSERS = "sysusers"
    LINKER = "ldconfig"
    DEPMOD = "depmod"
    MODULES = "modules"
    FIRMWARE = "firmware"
    SYSCTL = "sysctl"
    HWDB = "hwdb"
    UDEV = "udev"
    TMPFILES = "tmpfiles"
    CERTIFICATES = "certificates"
    TRUST = "trust"


SPEAKING = (Kind.SYSUSERS, Kind.LINKER, Kind.MODULES, Kind.SYSCTL, Kind.TMPFILES)
"""Kinds whose files tell what their trigger does: they are read to plan it."""
_CONFIGURATION = ("etc", "usr/local/lib", "usr/lib")
_DROP_INS: Mapping[Kind, tuple[str, str]] = {
    Kind.SYSUSERS: ("sysusers.d", ".conf"),
    Kind.MODULES: ("modules-load.d", ".conf"),
    Kind.SYSCTL: ("sysctl.d", ".conf"),
    Kind.HWDB: ("udev/hwdb.d", ".hwdb"),
    Kind.UDEV: ("udev/rules.d", ".rules"),
    Kind.TMPFILES: ("tmpfiles.d", ".conf"),
}
_PATTERNS: Mapping[Kind, tuple[str, ...]] = {
    Kind.LINKER: ("etc/ld.so.conf", "etc/ld.so.conf.d/*.conf"),
    Kind.DEPMOD: tuple(f"usr/lib/modules/*/**/*.ko{packed}" for packed in ("", ".xz", ".gz", ".zst")),
    Kind.FIRMWARE: ("usr/lib/firmware/**",),
    Kind.SYSCTL: ("etc/sysctl.conf",),
    Kind.CERTIFICATES: (
        "usr/local/share/ca-certificates/**/*.crt",
        "usr/share/ca-certificates/**/*.crt",
        "etc/ca-certificates.conf",
        "etc/ssl/certs/*.pem",
        "etc/pki/trust/**",
        "usr/share/pki/trust/**",
    ),
    Kind.TRUST: (
        "etc/pki/ca-trust/source/**",
        "usr/share/pki/ca-trust-source/**",
        "etc/ca-certificates/trust-source/**",
        "usr/share/ca-certificates/trust-source/**",
    ),
}
_WORDS = frozenset(folder.partition("/")[0] for folder, _ in _DROP_INS.values()) | {
    *("ld.so.conf", "ld.so.conf.d", "modules", "firmware", "sysctl.conf", "ca-certificates", "ca-certificates.conf"),
    *("certs", "pki"),
}
"""A path without any of these names sets off nothing: most paths of a large bundle are told apart by that alone."""

_TOPS = tuple(
    {f"{p.partition('/')[0]}/" for p in (*_CONFIGURATION, *(p for ps in _PATTERNS.values() for p in ps))} | {"lib/"}
)
"""The folders that all of them lie in; lib is another name of usr/lib."""
_REMEMBERED = 1 << 16
"""Paths: each is asked for at several places of one plan."""


def kind_of(path: str) -> Kind | None:
    """The trigger that a change of `path` sets off, libraries aside: where those are looked for, the host says."""
    return _kind_of(path) if path.startswith(_TOPS) else None


@functools.lru_cache(_REMEMBERED)
def _kind_of(path: str) -> Kind | None:
    if _WORDS.isdisjoint(path.split("/")):
        return None
    path = merged_usr(path)
    folder, _, name = path.rpartition("/")
    for kind, (drop_ins, suffix) in _DROP_INS.items():
        if name.endswith(suffix) and any(folder == f"{top}/{drop_ins}" for top in _CONFIGURATION):
            return kind
    for kind, patterns in _PATTERNS.items():
        if any(matches(pattern, path) for pattern in patterns):
            return kind
    return None


def by_kind(paths: Iterable[str]) -> dict[Kind, tuple[str, ...]]:
    """`paths` by the trigger that they set off, both sorted; those that set off none are left out."""
    found: dict[Kind, list[str]] = {}
    for path in sorted(paths):
        if (kind := kind_of(path)) is not None:
            found.setdefault(kind, []).append(path)
    return {kind: tuple(found[kind]) for kind in Kind if kind in found}
