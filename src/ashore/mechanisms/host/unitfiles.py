# SPDX-License-Identifier: Apache-2.0
"""The unit files, drop-ins and masks of a host's own units, as they lie there."""

import contextlib
from collections.abc import Collection, Iterable

from ashore.mechanisms.beneath import Beneath
from ashore.nouns.units import ADMIN_FOLDER, PULLING, RUNTIME_FOLDER, UNIT_FOLDERS


def read_unit_files(host: Beneath, files: Iterable[str], folders: Iterable[str], limit: int) -> dict[str, str]:
    """The texts of unit files by these names, and of all ``*.conf`` in drop-in folders by these, by path.

    What is masked, cannot be read or has more than `limit` bytes is left out.
    """
    wanted_files, wanted_folders = set(files), set(folders)
    paths: list[str] = []
    for folder in unit_folders(host):
        for name in _names(host, folder):
            if name in wanted_files:
                paths.append(f"{folder}/{name}")
            elif name in wanted_folders:
                drop_ins = (drop_in for drop_in in _names(host, f"{folder}/{name}") if drop_in.endswith(".conf"))
                paths += (f"{folder}/{name}/{drop_in}" for drop_in in drop_ins)
    return {path: text for path in paths if (text := host.text_of(path, limit)) is not None}


def pulled_in(host: Beneath, units: Collection[str], going: Collection[str]) -> frozenset[str]:
    """Those of `units` that a ``.wants`` or ``.requires`` folder has: enabled, or pulled in by the distribution.

    Symlinks that are `going` do not count.
    """
    folders = unit_folders(host) if units else ()
    pulling = (f"{folder}/{name}" for folder in folders for name in _names(host, folder) if name.endswith(PULLING))
    return frozenset(
        name for folder in pulling for name in _names(host, folder) if name in units and f"{folder}/{name}" not in going
    )


def mask_of(host: Beneath, unit: str) -> str:
    """The path that masks a unit (systemctl(1), mask and mask --runtime); empty where none does."""
    for folder in (RUNTIME_FOLDER, ADMIN_FOLDER):
        with contextlib.suppress(OSError):
            if host.readlink(f"{folder}/{unit}").endswith("dev/null"):
                return f"{folder}/{unit}"
    return ""


def unit_folders(host: Beneath) -> tuple[str, ...]:
    """Where unit files lie on this host, by physical paths."""
    return tuple(dict.fromkeys(_physical(host, folder) for folder in UNIT_FOLDERS))


def _physical(host: Beneath, folder: str) -> str:
    """``lib/systemd/system`` -> ``usr/lib/systemd/system`` where /lib is a symlink."""
    with contextlib.suppress(OSError):
        return host.physical_folder(folder)
    return folder


def _names(host: Beneath, folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return host.listdir(folder)
    return []
