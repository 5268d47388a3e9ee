# SPDX-License-Identifier: Apache-2.0
"""What has to be known of a host before its triggers can be planned. Pure values."""

from collections.abc import Mapping

import msgspec

from ashore.rules.units.changes import Changes


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What changes, and what the host can do and holds now, as far as the kinds that are touched need it."""

    changes: Changes
    live: bool
    root: str
    """Of an offline root: where it lies on this machine."""
    programs: Mapping[str, str] = {}
    """Where programs lie, by name; those that the host lacks are absent."""
    old: Mapping[str, str] = {}
    """Texts of configuration files as bundles have them on the host, by path."""
    new: Mapping[str, str] = {}
    """Texts as they will be, of all bundles."""
    values: Mapping[str, str] = {}
    """The kernel's values of all settings that `old` and `new` name."""
    globs: Mapping[str, tuple[str, ...]] = {}
    """The settings that a glob names on this host."""
    present: frozenset[str] = frozenset()
    """Of the paths that triggers may make, of folders of kernel modules and of settings: those that are there."""
    links: frozenset[str] = frozenset()
    """The names by which programs ask for libraries of bundles, as paths, where no bundle has the symlink itself."""
    releases: frozenset[str] = frozenset()
    """The kernels that bundles will have modules for."""
    libraries: tuple[str, ...] = ()
    """Changed libraries in folders that the linker searches."""
    new_users: tuple[str, ...] = ()
    """Users and groups that will be made."""
    settable: bool = False
    """Whether the kernel's settings can be written."""
    loads_modules: bool = False
    runs_udev: bool = False
    may_own: bool = True
    """Whether users can be made in an offline root, and files given to them."""
    settings: Mapping[str, str] = {}
    """As recorded: values from before ashore."""
    made: Mapping[str, str] = {}
    """As recorded: paths that triggers made."""
