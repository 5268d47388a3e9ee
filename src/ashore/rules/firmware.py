# SPDX-License-Identifier: Apache-2.0
"""Firmware on a host whose /usr is read-only: it lies elsewhere, and the kernel is told so at each boot. Pure.

Source: Linux, driver-api/firmware/fw_search_path: one more folder, which is searched first.
"""

from collections.abc import Mapping

from ashore.nouns.files import parent

PARAMETER = "sys/module/firmware_class/parameters/path"
USUAL = "usr/lib/firmware"
_OWN = "var/lib/firmware"
_SETTINGS = "etc/tmpfiles.d"
_PREFIX = "ashore-firmware-"


def folder(now: str) -> str:
    """Where firmware goes, on a host that has `now` as its search path: there, or in a folder of our own."""
    return now.strip().strip("/") or _OWN


def moved(path: str, to: str) -> str:
    """``usr/lib/firmware/x.bin`` -> ``var/lib/firmware/x.bin``; other paths as they are."""
    return to + path.removeprefix(USUAL) if path == USUAL or path.startswith(USUAL + "/") else path


def setting_path(bundle: str) -> str:
    """The tmpfiles.d(5) file that tells the kernel at boot, before most drivers ask."""
    return f"{_SETTINGS}/{_PREFIX}{bundle}.conf"


def setting_text(to: str) -> str:
    """What it says."""
    return f"# Written by ashore: /usr is read-only here, so firmware lies elsewhere.\nw /{PARAMETER} - - - - /{to}\n"


def is_setting(path: str) -> bool:
    """Whether `path` is such a file."""
    return parent(path) == _SETTINGS and path.rpartition("/")[2].startswith(_PREFIX)


def folder_named_by(texts: Mapping[str, str]) -> str:
    """The folder that the first of them names, as the kernel has it; empty if there is none."""
    return next((text.split()[-1] for path, text in sorted(texts.items()) if is_setting(path)), "")
