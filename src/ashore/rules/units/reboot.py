# SPDX-License-Identifier: Apache-2.0
"""What of a change takes effect with the next boot only. It is said, never done. Pure."""

from collections.abc import Mapping

from ashore.rules.bundles.placing import matches
from ashore.rules.units.changes import Changes

PID_1 = "init.scope"
_AT_BOOT = {
    "boot/vmlinu[xz]*": "the kernel",
    "boot/Image*": "the kernel",
    "boot/kernel*": "the kernel",
    "usr/lib/modules/*/vmlinuz": "the kernel",
    "boot/initr*": "the initial file system",
    "boot/loader/**": "the boot loader's configuration",
    "boot/grub*/**": "the boot loader's configuration",
    "boot/efi/**": "the boot loader's partition",
    "efi/**": "the boot loader's partition",
    "etc/kernel/cmdline": "the kernel's command line",
    "etc/systemd/system.conf": "PID 1's configuration",
    "etc/systemd/system.conf.d/*.conf": "PID 1's configuration",
}
_TOPS = tuple(dict.fromkeys(pattern.partition("*")[0].rpartition("/")[0] for pattern in _AT_BOOT))


def reboot_reasons(changes: Changes, mapped: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Why the host has to be booted before all of a change is in effect. `mapped`: as in `HostUnits`."""
    reasons = [
        f"{path}, {what}, {changes.word(path)}"
        for path in sorted(path for path in changes.contents if path.startswith(_TOPS))
        for pattern, what in _AT_BOOT.items()
        if matches(pattern, path)
    ]
    reasons += [f"{path}, which PID 1 runs with, {changes.word(path)}" for path in mapped.get(PID_1, ())]
    return tuple(dict.fromkeys(reasons))
