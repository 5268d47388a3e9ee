# SPDX-License-Identifier: Apache-2.0
"""Units that ashore itself has on a host: early recovery, and the order of a bundle's units after the boot unit."""

from collections.abc import Sequence

from ashore.nouns.installer import RECOVER_UNIT
from ashore.nouns.units import ADMIN_FOLDER

BOOT_UNIT = "ashore-boot.service"
BOOT_LINK = f"{ADMIN_FOLDER}/multi-user.target.wants/{BOOT_UNIT}"
SETTLE = "settle"
SETTLE_UNIT = f"ashore-{SETTLE}.service"
"""Transient, of a boot: it places the files, then watches the units."""
RECOVER_PATH = f"{ADMIN_FOLDER}/{RECOVER_UNIT}"
RECOVER_LINK = f"{ADMIN_FOLDER}/sysinit.target.wants/{RECOVER_UNIT}"
DROP_IN = "50-ashore.conf"
INCOMPLETE = "run/ashore/incomplete"
ENVIRONMENT = "/etc/ashore/environment"
"""Of what runs by itself: proxies, say. The host's owner writes it."""
"""There while the files of the host are a mix that an interrupted transaction left, and nobody has ended it yet."""

_LINK_FOLDER = "/opt/bin"
_LOADERS = (
    *("nftables", "netfilter-persistent", "ufw", "iptables", "ip6tables", "firewalld"),
    *("systemd-networkd", "networking", "NetworkManager", "ssh", "sshd"),
)
"""What brings in the configuration that locks people out, some of it before sysinit.target: not until it is back.

None of them is needed to mount a local file system, which we wait for: no circle. Of systemd-modules-load.service that
cannot be said (it loads the modules of multipath or of a file system), and a module does not go by its file anyway.
"""
_BEFORE = " ".join((
    *("sysinit.target", "systemd-sysctl.service", "systemd-tmpfiles-setup.service"),
    *(f"{name}.service" for name in _LOADERS),
    "shutdown.target",
))  # fmt: skip
OURS = b"# Written by ashore: "
"""How the units that ashore has for itself begin."""


def _command(program: Sequence[str]) -> str:
    return " ".join(map(_quoted, program))


def _quoted(word: str) -> str:
    """A word of a command line (systemd.service(5))."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if set(plain) & set(" \t'\";") else plain


def recover_units(program: Sequence[str]) -> dict[str, str]:
    """What ends an interrupted change at the next boot, by path.

    Only the folder of the installer's link has to be mounted: that of any other program may come over a network, and
    whoever waits for one before sysinit.target is in a circle.
    """
    mounts = f"/var/lib/ashore {_LINK_FOLDER}" if program[0].startswith(f"{_LINK_FOLDER}/") else "/var/lib/ashore"
    text = f"""\
# Written by ashore: an interrupted change is ended before anything starts. No network, no message bus is needed.
[Unit]
Description=Recover an interrupted change by ashore
DefaultDependencies=no
After=local-fs.target
Before={_BEFORE}
Conflicts=shutdown.target
RequiresMountsFor={mounts}
ConditionPathExists=|/var/lib/ashore/journal
ConditionPathExists=|/var/lib/ashore/journal.done
ConditionPathIsSymbolicLink=|/var/lib/ashore

[Service]
Type=notify
TimeoutStartSec=infinity
ExecStart={_command(program)} recover --at-boot
StandardOutput=journal+console

[Install]
WantedBy=sysinit.target
"""
    return {RECOVER_PATH: text}


RECOVER_LINKS = {RECOVER_LINK: f"../{RECOVER_UNIT}"}
"""What enables it: path and target."""
RECOVER_UNITS = recover_units(("/opt/bin/ashore",))
"""As an installer places it."""
RECOVER_TEXT = RECOVER_UNITS[RECOVER_PATH]


UNCONFIRMED = "ashore-unconfirmed"
UNCONFIRMED_TIMER = f"{UNCONFIRMED}.timer"
_AGAIN = 30
"""Seconds until another look, or try, where a change could not be taken back."""
_LOOK = 5
"""Seconds between two looks for a login."""


def unconfirmed_units(program: Sequence[str], within: float, *, look: bool) -> dict[str, str]:
    """What takes an unconfirmed change back, by path: a timer, and its service, which a boot runs as well.

    A timer comes before what it starts, and by default after sysinit.target, which our service comes before: it has
    to do without. The service is started all along as well: with `look`, to see whether somebody has logged in; else
    since each daemon-reload has PID 1 reckon a timer's own time from then on, but not that since its service ended.
    """
    first, again = min(_LOOK, within), _LOOK if look else _AGAIN
    service = f"""\
# Written by ashore: a change that nobody confirms is taken back, at the next boot before anything starts.
[Unit]
Description=Take back a change by ashore that nobody confirmed
DefaultDependencies=no
After=local-fs.target {RECOVER_UNIT}
Before={_BEFORE}
Conflicts=shutdown.target
RequiresMountsFor=/var/lib/ashore
StartLimitIntervalSec=0

[Service]
Type=notify
TimeoutStartSec=infinity
ExecStart={_command(program)} take-back

[Install]
WantedBy=sysinit.target
"""
    timer = f"""\
# Written by ashore: how long there is to confirm a change.
[Unit]
Description=Time to confirm a change by ashore
DefaultDependencies=no
Before=shutdown.target
Conflicts=shutdown.target

[Timer]
OnActiveSec={first:g}
OnActiveSec={within:g}
OnUnitInactiveSec={again}
AccuracySec=100ms

[Install]
WantedBy=timers.target
"""
    return {f"{ADMIN_FOLDER}/{UNCONFIRMED}.service": service, f"{ADMIN_FOLDER}/{UNCONFIRMED_TIMER}": timer}


UNCONFIRMED_LINKS = {
    f"{ADMIN_FOLDER}/sysinit.target.wants/{UNCONFIRMED}.service": f"../{UNCONFIRMED}.service",
    f"{ADMIN_FOLDER}/timers.target.wants/{UNCONFIRMED_TIMER}": f"../{UNCONFIRMED_TIMER}",
}
"""What enables them: path and target."""


FOLLOW = "ashore-follow"
FOLLOW_TIMER = f"{FOLLOW}.timer"
FOLLOW_LINKS = {f"{ADMIN_FOLDER}/timers.target.wants/{FOLLOW_TIMER}": f"../{FOLLOW_TIMER}"}


def follow_units(program: Sequence[str], every: float, delay: float) -> dict[str, str]:
    """What follows tags, by path: a timer with a random delay, in seconds, and what it starts."""
    service = f"""\
# Written by ashore: ashore follow --disable takes it away.
[Unit]
Description=Follow the tags of installed bundles
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
TimeoutStartSec=infinity
EnvironmentFile=-{ENVIRONMENT}
ExecStart={_command(program)} follow
Restart=on-abnormal
RestartSec=1
"""
    timer = f"""\
# Written by ashore: ashore follow --disable takes it away.
[Unit]
Description=Follow the tags of installed bundles

[Timer]
OnActiveSec=0
OnUnitActiveSec={every:g}
RandomizedDelaySec={delay:g}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
    return {f"{ADMIN_FOLDER}/{FOLLOW}.service": service, f"{ADMIN_FOLDER}/{FOLLOW_TIMER}": timer}


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
