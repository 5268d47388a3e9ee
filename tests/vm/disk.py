# SPDX-License-Identifier: Apache-2.0
"""Disks of machines: Debian with its own kernel and Docker, without any Python, and the same with cloud-init.

Both are made at once and cached in `.lab/`; a machine writes to a layer of its own above them.
"""

import os
import shutil
import subprocess
from enum import StrEnum
from pathlib import Path

from tests.system.lab import CHECKOUT, LAB, QUIET_UNITS, SUITE, LabError, cached

_HERE = Path(__file__).parent
_TOOLS = ("mmdebstrap", "qemu-system-x86_64", "qemu-img", "mkfs.ext4", "genisoimage")
_PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,iproute2,procps,kmod,ca-certificates,iptables,docker.io,"
    "linux-image-cloud-amd64,initramfs-tools,zstd,cloud-init"
)
_PYTHON = ("cloud-init", "python3*", "libpython3*")
"""Taken away again for the machine that has none."""
_MODULES = "virtio_pci virtio_blk ext4 crc32c_generic"
"""What the kernel needs to find its root: a small initial RAM disk is read in a second."""
_MASKED = (*QUIET_UNITS, "serial-getty@ttyS0.service", "getty@tty1.service", "containerd-configure.service")
_SIZE = "8G"
"""Of which only what is written takes room."""
_MODULES_HOOK = f"""\
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules {_MODULES}
"""
_NETWORK = """\
[Match]
Name={name}
[Network]
Address={address}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
_AGENT_UNIT = """\
[Unit]
Description=What the tests ask for
DefaultDependencies=no
IgnoreOnIsolate=yes
Wants=systemd-udevd.service modprobe@virtio_console.service
After=systemd-udevd.service systemd-tmpfiles-setup.service modprobe@virtio_console.service
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/local/lib/lab-agent
Restart=always
RestartSec=200ms
KillMode=process
"""
_FILES = {
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\nCOMPRESS=zstd\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/hostname": "node\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/network/eth0.network": _NETWORK.format(name="eth0", address="10.0.2.15/24")
    + "Gateway=10.0.2.2\n",
    "etc/systemd/network/eth1.network": _NETWORK.format(name="eth1", address="10.0.3.15/24"),
    "etc/systemd/system/lab.service": _AGENT_UNIT,
    # The interfaces of user-data's machine are configured already; it has no locales and no sshd.
    "etc/cloud/cloud.cfg.d/99-lab.cfg": "network: {config: disabled}\nlocale: false\nssh_genkeytypes: []\n",
}  # fmt: skip


class Kind(StrEnum):
    """Which disk."""

    PLAIN = "plain"
    """No Python, no cloud-init: a unit is put there."""
    CLOUD = "cloud"
    """cloud-init, and so its Python."""


def missing() -> str:
    """Why there can be no machine here; empty if there can."""
    if os.geteuid() != 0:
        return "not root"
    if os.uname().machine != "x86_64":
        return "the machines are for x86-64"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"{', '.join(absent)} missing: run scripts/lab-packages" if absent else ""


def disks() -> Path:
    """The folder with ``KIND.img``, ``vmlinuz`` and ``initrd.img``; made in about two minutes when new."""
    recipe = [SUITE, _PACKAGES, *_PYTHON, *_MASKED, _SIZE, _MODULES_HOOK, *_FILES, *_FILES.values()]
    return cached("disks", [*recipe, *((_HERE / name).read_text() for name in ("agent", "initramfs"))], _make)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)
    tree = folder / "tree"
    try:
        hook = folder / "hook"
        hook.mkdir()
        _write(hook, "etc/initramfs-tools/hooks/lab", _MODULES_HOOK, 0o755)
        _write(hook, "etc/initramfs-tools/scripts/local-bottom/lab", (_HERE / "initramfs").read_text(), 0o755)
        _write(hook, "etc/initramfs-tools/conf.d/lab", _FILES["etc/initramfs-tools/conf.d/lab"])
        _run(
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}",
            f"--essential-hook=cp -a {hook}/etc \"$1\"/", SUITE, str(tree),
        )  # fmt: skip
        _furnish(tree)
        _make_disk(tree, folder / f"{Kind.CLOUD}.img")
        _take_python(tree)
        _make_disk(tree, folder / f"{Kind.PLAIN}.img")
        for name in ("vmlinuz", "initrd.img"):
            (found,) = (tree / "boot").glob(f"{name}-*")
            shutil.copyfile(found, folder / name)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
        shutil.rmtree(folder / "hook", ignore_errors=True)


def _furnish(tree: Path) -> None:
    for path, text in _FILES.items():
        _write(tree, path, text)
    _write(tree, "usr/local/lib/lab-agent", (_HERE / "agent").read_text(), 0o755)
    units = tree / "etc/systemd/system"
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wants = units / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "lab.service").symlink_to("/etc/systemd/system/lab.service")
    _run("systemctl", f"--root={tree}", "enable", "systemd-networkd.service")


def _take_python(tree: Path) -> None:
    _run("chroot", str(tree), "apt-get", "purge", "--quiet", "--yes", "--auto-remove", *_PYTHON)
    if left := [*tree.glob("usr/bin/python*"), *tree.glob("usr/local/bin/python*"), *tree.glob("usr/lib/python3*/*")]:
        raise LabError(f"there is still some Python: {left[:3]}")


def _make_disk(tree: Path, disk: Path) -> None:
    _run("mkfs.ext4", "-q", "-F", "-L", "lab", "-d", str(tree), str(disk), _SIZE)


def _write(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(mode)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=CHECKOUT)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    print(disks(), LAB)
