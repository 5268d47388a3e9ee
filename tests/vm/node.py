# SPDX-License-Identifier: Apache-2.0
"""A machine that installs a bundle by the boot unit: what it is given, and how it gets on."""

import subprocess
import sys
import time
from pathlib import Path

from tests.system.lab import LabError
from tests.system.snapshot import Snapshot
from tests.vm.machine import SNAPSHOT, Files, Given, Link, Machine, read_snapshot
from tests.vm.registry import Registry

ASHORE = str(Path(sys.executable).parent / "ashore")
UNIT = "etc/systemd/system/ashore-boot.service"
VALUES = "etc/ashore/values.d/50-provision.toml"
OURS = ("ashore-boot", "ashore-settle", "ashore-recover")
SECONDS = 2400.0
"""A machine without hardware's help, on cores that others want too."""
_BEFORE = "/var/lib/lab-before"
_PREPARE = f"""\
[Unit]
ConditionPathExists=!{_BEFORE}
Wants=docker.service
After=docker.service
Before=ashore-boot.service
[Service]
Type=oneshot
ExecStart=/bin/sh /srv/prepare
"""
_SETTLED = """
systemctl show --property=ActiveState,SubState ashore-boot ashore-settle | tr '\\n' ' '
systemctl list-jobs --no-legend | wc -l
"""


def provision(*arguments: str) -> str:
    """What ``ashore provision`` prints."""
    done = subprocess.run([ASHORE, "provision", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(registry: Registry, image: str, values: str, *options: str) -> Files:
    """What a provider puts on a machine without cloud-init: the unit, enabled, the values, the authority."""
    return {
        UNIT: Given(provision("unit", *options, image)),
        "etc/systemd/system/multi-user.target.wants/ashore-boot.service": Link(f"/{UNIT}"),
        VALUES: Given(values, 0o600),
        **registry.trusted(),
    }


def seed(folder: Path, user_data: str) -> Path:
    """A disk with user-data, as cloud-init's NoCloud takes it."""
    (folder / "user-data").write_text(user_data)
    (folder / "meta-data").write_text("instance-id: lab-1\nlocal-hostname: node\n")
    disk = folder / "seed.iso"
    make = ["genisoimage", "-quiet", "-output", "seed.iso", "-volid", "cidata", "-joliet", "-rock"]
    subprocess.run([*make, "user-data", "meta-data"], check=True, cwd=folder)
    return disk


def prepared(*commands: str) -> Files:
    """Before the first boot's unit: a look at all paths, for `before`, and what else the machine shall have then."""
    look = f"touch {_BEFORE} {_BEFORE}.new\n{{ {SNAPSHOT}\n}} >{_BEFORE}.new\ncat {_BEFORE}.new >{_BEFORE}\nsync"
    # Some of the folders to look into are not there yet, which find ends with 1 for.
    script = "\n".join(["set -e", *commands, "set +e", look])
    return {
        "srv/prepare": Given(script),
        "etc/systemd/system/lab-prepare.service": Given(_PREPARE),
        "etc/systemd/system/multi-user.target.wants/lab-prepare.service": Link("../lab-prepare.service"),
    }


def before(machine: Machine) -> Snapshot:
    """All paths as they were before ashore came."""
    found = read_snapshot(machine.sh(f"cat {_BEFORE}").stdout)
    assert found, "nobody looked"
    return found


def settled(machine: Machine) -> str:
    """Wait until the boot unit has done its part and the change has ended; what they said since the boot.

    Raises:
        LabError: it does not end.
    """
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        said = machine.sh(_SETTLED).stdout
        boot, settle = said.split("ActiveState=")[1:3]
        if boot.startswith(("active ", "failed ")) and settle.startswith(("inactive ", "failed ")):
            return machine.journal(*OURS)
        time.sleep(4)  # to look costs an emulated machine more than to wait
    raise LabError(f"{machine.name} does not settle:\n{machine.journal(*OURS)}")


def pids(machine: Machine, *units: str) -> list[int]:
    """The main processes of units; 0 of one that does not run."""
    return [int(machine.show(f"{unit}.service", "MainPID")) for unit in units]


def wait(machine: Machine, script: str, what: str, *, every: float = 0.2, seconds: float = SECONDS) -> None:
    """Until a script of the machine's shell holds: looked at on the machine itself, `every` so many seconds.

    Raises:
        LabError: it does not come to hold.
    """
    loop = (
        f"i=0; until {{ {script}; }}; do i=$((i+1)); [ $i -lt {int(seconds / every)} ] || exit 9; sleep {every}; done"
    )
    done = machine.sh(loop, check=False, seconds=4 * seconds)
    if done.returncode:
        raise LabError(f"{machine.name}: not {what}\n{done.stderr}{machine.journal(*OURS)}")
