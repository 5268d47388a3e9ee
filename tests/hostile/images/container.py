# SPDX-License-Identifier: Apache-2.0
"""The same images, tried by an ashore in a container: a root and an /etc of its own, the host's root at /rootfs."""

import os
from collections.abc import Collection
from pathlib import Path

from tests.hostile.crash import mounts
from tests.hostile.crash.apart import apart
from tests.hostile.images.case import Case
from tests.hostile.images.host import Host

ROOTFS = Path("/rootfs")
_OWN = {"etc", "rootfs", "srv", "srv.d", "victim"}
"""What is not this machine's."""


def tried_in_container(folder: Path, cases: dict[str, Case], names: Collection[str]) -> dict[str, list[str]]:
    """Try these cases one after another; by name, what went otherwise than they say. `folder` lies in memory."""

    def tries() -> dict[str, list[str]]:
        mounts.go_private()
        _enter(folder)
        host = Host(folder)
        host.machine.root = ROOTFS
        host.outside += (Path("/etc"), Path("/victim"), Path("/srv.d"))
        return {name: problems for name in names if (problems := host.tries(cases[name]))}

    return apart(tries)


def _enter(folder: Path) -> None:
    """Make this process one of a container: what it sees of the machine, it sees by bind mounts."""
    root = folder / "container"
    mounts.tmpfs(root)
    for name in set(os.listdir("/")) - _OWN:
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            mounts.bind(Path("/", name), root / name, whole=True)
    for victim in ("etc/victim", "etc/shadow", "victim/hello", "victim/file", "srv.d/keep"):
        (root / victim).parent.mkdir(exist_ok=True)
        (root / victim).write_text("the container's own\n")
    (folder / "host").mkdir()
    mounts.bind(folder / "host", root / "rootfs")
    os.chroot(root)
    os.chdir("/")
