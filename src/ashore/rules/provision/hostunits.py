# SPDX-License-Identifier: Apache-2.0
"""Units that ashore itself has on a host: early recovery, and the order of a bundle's units after the boot unit."""

from ashore.nouns.units import ADMIN_FOLDER

BOOT_UNIT = "ashore-boot.service"
SETTLE = "settle"
SETTLE_UNIT = f"ashore-{SETTLE}.service"
"""Transient, of a boot: it places the files, then watches the units."""
RECOVER_UNIT = "ashore-recover.service"
RECOVER_PATH = f"{ADMIN_FOLDER}/{RECOVER_UNIT}"
RECOVER_LINK = f"{ADMIN_FOLDER}/sysinit.target.wants/{RECOVER_UNIT}"
DROP_IN = "50-ashore.conf"
INCOMPLETE = "run/ashore/incomplete"
"""There while the files of the host are a mix that an interrupted transaction left, and nobody has ended it yet."""

RECOVER_TEXT = """\
# Written by ashore: an interrupted change is ended before anything starts. No network, no message bus is needed.
[Unit]
Description=Recover an interrupted change by ashore
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
RequiresMountsFor=/var/lib/ashore /opt/bin
ConditionPathExists=/var/lib/ashore/journal

[Service]
Type=oneshot
ExecStart=/opt/bin/ashore recover --at-boot
StandardOutput=journal+console

[Install]
WantedBy=sysinit.target
"""


def drop_in_path(unit: str) -> str:
    """Where the order of a bundle's unit lies."""
    return f"{ADMIN_FOLDER}/{unit}.d/{DROP_IN}"


def drop_in() -> str:
    """Order, not requirement: a node whose boot unit failed comes up with the good generation that it has."""
    return (
        "# Written by ashore: not before the bundle is complete, at any boot.\n"
        "[Unit]\n"
        f"Wants={BOOT_UNIT}\n"
        f"After={RECOVER_UNIT} {BOOT_UNIT}\n"
        f"ConditionPathExists=!/{INCOMPLETE}\n"
    )
