# SPDX-License-Identifier: Apache-2.0
"""One machine: booted by QEMU without hardware's help, spoken to over a serial port, and cut from its power.

Knows nothing of pytest. `python -m tests.vm.machine` boots one to look around in.
"""

import base64
import contextlib
import hashlib
import io
import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.system.lab import LAB, LabError
from tests.system.snapshot import Snapshot
from tests.vm.disk import Kind, disks

GATEWAY = "10.0.2.2"
"""Where a machine finds what listens on this machine's loopback."""
_LINE = (
    "console=ttyS0 root=/dev/vda rw panic=1 net.ifnames=0 mitigations=off loglevel=4 systemd.show_status=no"
    # Docker's sandboxes need AppArmor's tools or no AppArmor; the kubelet of the tests wants version 1.
    " apparmor=0 systemd.unified_cgroup_hierarchy=0"
)
_BOOT_SECONDS = 1200.0
"""Twenty on an idle machine; but several of these may share two cores."""
_MEMORY = "2560"
_PROCESSOR = "qemu64"
"""One, and plain: what "max" has besides, pages of five levels first of all, makes an emulated boot a third dearer."""


class Given(NamedTuple):
    """A file that a machine has from its provider."""

    data: str | bytes
    mode: int = 0o644


class Link(NamedTuple):
    """A symlink that it has."""

    target: str


Files = Mapping[str, Given | Link]


class Machine:
    """A machine whose disk is a layer above a cached one; it goes with `remove`, and stays over power cuts."""

    def __init__(self, name: str, kind: Kind, *, seed: Path | None = None) -> None:
        """`seed`: a disk with user-data."""
        self.name = name
        self._kind, self._seed = kind, seed
        self._folder = LAB / "machines" / f"{name}-{os.getpid()}"
        self._qemu: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._replies: io.BufferedReader | None = None
        self._numbers = itertools.count(1)
        self.console = self._folder / "console.log"

    def boot(self, files: Files | None = None) -> "Machine":
        """Switch it on and wait until it answers. `files` are laid on its root before systemd starts."""
        self._prepare(files or {})
        with self.console.open("ab") as console:
            self._qemu = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self._connect()
        return self

    def power_cut(self) -> None:
        """Off, at once. What the machine had not written to its disk is lost; `boot` switches it on again."""
        if self._qemu is not None:
            self._qemu.send_signal(signal.SIGKILL)
            self._qemu.wait()
        self._disconnect()

    def reboot(self) -> None:
        """Reboot in good order, and wait until it answers again."""
        self.shut_down()
        self.boot()

    def shut_down(self) -> None:
        """In good order, to the end."""
        assert self._qemu is not None
        self.sh("systemctl --no-block reboot")  # QEMU does not: it ends
        try:
            self._qemu.wait(_BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} does not go down:\n{self.said()}") from None
        self._disconnect()

    def remove(self) -> None:
        """Off, and forgotten."""
        self.power_cut()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self, argv: Sequence[str], *, check: bool = True, seconds: float = _BOOT_SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as root; `check` makes any code but 0 a LabError."""
        return self.sh(shlex.join(argv), check=check, seconds=seconds)

    def sh(
        self, script: str, *, check: bool = True, seconds: float = _BOOT_SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell script as root, as `run` does. One at a time: start what shall go on by `systemd-run`."""
        if self._port is None or self._replies is None:
            raise LabError(f"{self.name} is off")
        number = str(next(self._numbers))
        self._port.settimeout(seconds)
        try:
            self._port.sendall(f"{number} {base64.b64encode(script.encode()).decode()}\n".encode())
            fields = self._await(number)
        except TimeoutError:
            raise LabError(f"{self.name}: no answer to {script!r}\n{self.said()}") from None
        out, err = (base64.b64decode(field[1:]).decode(errors="replace") for field in fields[2:4])
        done = subprocess.CompletedProcess(script, int(fields[1]), out, err)
        if check and done.returncode:
            raise LabError(f"{self.name}: {script!r} ended with {done.returncode}\n{out}{err}")
        return done

    def ashore(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run the ``ashore`` that an installer image brought."""
        return self.run(["/opt/bin/ashore", *arguments], check=check)

    def show(self, unit: str, prop: str) -> str:
        """One property of a unit."""
        return self.run(["systemctl", "show", "--value", "--property", prop, unit]).stdout.strip()

    def journal(self, *units: str) -> str:
        """What units said since the boot."""
        named = [word for unit in units for word in ("--unit", unit)]
        return self.run(["journalctl", "--no-pager", "--boot", "--output=cat", *named]).stdout

    def said(self) -> str:
        """The end of what the console shows."""
        return self.console.read_text(errors="replace")[-3000:] if self.console.exists() else ""

    def snapshot(self) -> Snapshot:
        """Kind, mode, owner, target and content of all that ashore may change (as `tests.system.snapshot`)."""
        return read_snapshot(self.sh(SNAPSHOT).stdout)

    def _prepare(self, files: Files) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        disk = self._folder / "disk.qcow2"
        if not disk.exists():
            _sweep()
            base = disks() / f"{self._kind}.img"
            _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(disk))
            # Without one, systemd takes this for a first boot and enables units by preset.
            identity = hashlib.sha256(self.name.encode()).hexdigest()[:32]
            files = {"etc/machine-id": Given(f"{identity}\n", 0o444), **files}
        (self._folder / "files.tar").write_bytes(_archive(files))

    def _command(self) -> list[str]:
        top = disks()
        drives = [
            f"file={self._folder}/disk.qcow2,if=virtio,format=qcow2,discard=unmap",
            f"file={self._folder}/files.tar,if=virtio,format=raw,readonly=on",
            *([f"file={self._seed},if=virtio,format=raw,readonly=on"] if self._seed else []),
        ]
        return [
            "setpriv", "--pdeathsig", "KILL",  # it does not outlive the tests
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", _PROCESSOR,
            "-m", _MEMORY, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
            "-kernel", str(top / "vmlinuz"), "-initrd", str(top / "initrd.img"), "-append", _LINE,
            *(word for drive in drives for word in ("-drive", drive)),
            "-netdev", "user,id=eth0", "-device", "virtio-net-pci,netdev=eth0,romfile=",
            "-netdev", "user,id=eth1,net=10.0.3.0/24,restrict=on", "-device", "virtio-net-pci,netdev=eth1,romfile=",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=lab,path={self._folder}/port,server=on,wait=off",
            "-device", "virtserialport,chardev=lab,name=lab",
        ]  # fmt: skip

    def _connect(self) -> None:
        assert self._qemu is not None
        deadline = time.monotonic() + _BOOT_SECONDS
        self._port = socket.socket(socket.AF_UNIX)
        while True:
            with contextlib.suppress(OSError):
                self._port.connect(f"{self._folder}/port")
                break
            if self._qemu.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} did not start:\n{self.said()}")
            time.sleep(0.05)
        self._port.settimeout(_BOOT_SECONDS)
        self._replies = self._port.makefile("rb")
        try:
            self._await("ready")
        except TimeoutError:
            raise LabError(f"{self.name} did not boot:\n{self.said()}") from None

    def _await(self, first: str) -> list[str]:
        assert self._replies is not None
        while line := self._replies.readline():
            fields = line.decode(errors="replace").split()
            if fields and fields[0] == first:
                return fields
        raise LabError(f"{self.name} went off:\n{self.said()}")

    def _disconnect(self) -> None:
        for each in (self._replies, self._port):
            if each is not None:
                each.close()
        self._port = self._replies = self._qemu = None
        (self._folder / "port").unlink(missing_ok=True)


SNAPSHOT = r"""
cd /
find etc home mnt opt root srv usr/local var/spool var/lib var/cache/ashore \
    \( -path var/lib/docker -o -path var/lib/containerd -o -path var/lib/systemd -o -path etc/.updated \
       -o -path var/lib/cloud -o -path var/lib/kubelet -o -path var/lib/dockershim -o -path var/lib/cni \) -prune \
    -o -printf '%p\t%y\t%m\t%U:%G\t%l\n' 2>/dev/null
find etc home opt root srv usr/local -type f -exec sha256sum {} + | sed 's/^\([0-9a-f]*\)  \(.*\)$/\2\t\1/'
"""


def read_snapshot(text: str) -> Snapshot:
    """What the script SNAPSHOT printed."""
    found: dict[str, tuple[object, ...]] = {}
    for line in text.splitlines():
        path, *rest = line.split("\t")
        found[path] = (*found.get(path, ()), *rest)
    return found


@contextlib.contextmanager
def machine(
    name: str,
    kind: Kind,
    files: Files | None = None,
    *,
    seed: Path | None = None,
) -> Iterator[Machine]:
    """A booted machine, removed in the end."""
    made = Machine(name, kind, seed=seed)
    try:
        yield made.boot(files)
    finally:
        made.remove()


def _archive(files: Files) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, given in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(given, Link):
                member.type, member.linkname = tarfile.SYMTYPE, given.target
                archive.addfile(member)
                continue
            data = given.data.encode() if isinstance(given.data, str) else given.data
            member.size, member.mode, member.mtime = len(data), given.mode, int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def _sweep() -> None:
    """Forget the machines of runs that were killed: they died with them."""
    for folder in (LAB / "machines").glob("*-*"):
        if not Path("/proc", folder.name.rpartition("-")[2]).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def main() -> None:
    """A shell of the poor: each line of input is run in a machine."""
    with machine("try", Kind(sys.argv[1] if len(sys.argv) > 1 else "plain")) as made:
        print(f"up; console: {made.console}", flush=True)
        for line in sys.stdin:
            began = time.monotonic()
            done = made.sh(line, check=False)
            print(f"{done.stdout}{done.stderr}[{done.returncode}, {time.monotonic() - began:.1f} s]", flush=True)


if __name__ == "__main__":
    main()
