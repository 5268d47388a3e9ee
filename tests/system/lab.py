# SPDX-License-Identifier: Apache-2.0
"""Real systemd hosts in half a second: `systemd-nspawn` on an overlay over one cached Debian tree.

Knows nothing of pytest: the demo uses it as well (``from tests.system import lab``, with the checkout on
`sys.path`). Everything it caches lies in `.lab/` at the root of the checkout; a changed recipe is a new
folder there.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.system.forward import Forward
from tests.system.snapshot import Snapshot, snapshot

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = CHECKOUT / ".lab"
RUN = "/run/lab"
"""Where a host sees the checkout's `src` and the dependencies."""

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,iproute2,udev,python3,ca-certificates,procps,kmod"
SERVICES = ("libpam-systemd", "nginx-light", "openssh-client", "openssh-server", "sudo")
"""Further packages of a host that serves something: one tree for all tests that need any of them."""
QUIET_UNITS = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
               "fstrim.timer", "e2scrub_reap.service", "systemd-networkd-wait-online.service")  # fmt: skip
"""Masked: they would change the tree between two snapshots."""
RECOVERY = tuple(f"etc/systemd/system/{folder}ashore-recover.service" for folder in ("", "sysinit.target.wants/"))
"""The unit that recovers a host at boot, and what enables it."""
# As pip writes the command of an installed package, so that the program finds itself by its own name.
WRAPPER = f"""\
#!/usr/bin/python3
import sys
sys.path[:0] = ["{RUN}/src", "{RUN}/deps"]
from ashore.__main__ import main
sys.exit(main())
"""
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_SECONDS = 30.0
_ENGINE_SETTINGS = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1", "SYSTEMD_SECCOMP": "0"}
# systemd-nspawn mounts the controllers read-only; an engine makes groups of its own in them.
_WRITABLE_CGROUPS = "for group in /sys/fs/cgroup/*; do mount -o remount,bind,rw $group; done"
_REBOOT = 133
"""With --keep-unit, systemd-nspawn leaves the restart to whoever started it."""


class LabError(RuntimeError):
    """A host or tool of the laboratory did not do its part."""


def missing() -> str:
    """Why there can be no real host here; empty if there can."""
    if os.geteuid() != 0:
        return "not root"
    if not Path("/etc/debian_version").exists():
        return "not a Debian system"
    absent = [tool for tool in ("mmdebstrap", "systemd-nspawn", "nsenter", "ip") if shutil.which(tool) is None]
    return f"{', '.join(absent)} missing: run scripts/lab-packages" if absent else ""


def base_tree(include: Sequence[str] = ()) -> Path:
    """The unpacked Debian tree, made in about 30 seconds when its recipe is new; `include` names further packages."""
    packages = ",".join((PACKAGES, *sorted(include)))
    recipe = [SUITE, packages, *QUIET_UNITS, WRAPPER, HOSTS]
    return cached("base", recipe, functools.partial(_make_base, packages=packages))


def dependencies() -> Path:
    """The dependencies of pyproject.toml for the hosts' CPython 3.11."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return cached("deps", list(project["dependencies"]), _make_dependencies)


class Host:
    """One host. Its changes lie in an overlay of its own and go with `remove`; a reboot keeps them.

    `include` names Debian packages that it has beside the usual ones. On an `engine` host a container engine works:
    podman runs privileged containers there (`engine.py`).
    """

    def __init__(
        self,
        name: str,
        *,
        src: Path = CHECKOUT / "src",
        address: str = "10.77.0.2/24",
        include: Sequence[str] = (),
        engine: bool = False,
    ) -> None:
        self.name = name
        self.address = address
        self._src = src
        self._include = include
        self._engine = engine
        self.machine = f"{name}-{os.getpid()}"
        self._folder = LAB / "hosts" / self.machine
        self.path = self._folder / "root"
        """The host's root, seen from outside."""
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._forwards: dict[int, Forward] = {}
        self.leader = 0
        """The host's PID 1, seen from outside."""

    @property
    def live_root(self) -> str:
        """The host's root with its mounts (``run``, ``proc``): what its PID 1 sees, until the next boot."""
        return f"/proc/{self.leader}/root"

    def boot(self) -> "Host":
        """Start the host and wait until systemd has started everything."""
        if not self.path.is_dir():
            _sweep()
            self._mount()
            self._make_network()
        log = (self._folder / "console.log").open("ab")
        settings = os.environ | (_ENGINE_SETTINGS if self._engine else {})
        self._nspawn = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=settings)
        self._await_boot()
        if self._engine:
            self.run(["sh", "-c", _WRITABLE_CGROUPS])
        return self

    def reboot(self) -> None:
        """Reboot in good order, and wait for the new systemd."""
        self.run(["systemctl", "--no-block", "reboot"])
        if self._nspawn is None or self._nspawn.wait(_BOOT_SECONDS) != _REBOOT:
            raise LabError(f"{self.name} did not reboot")
        self.boot()

    def ended(self) -> None:
        """Wait until the host has powered off by itself."""
        if self._nspawn is None or self._nspawn.wait(_BOOT_SECONDS) != 0:
            raise LabError(f"{self.name} did not power off")
        self._nspawn = None

    def kill(self) -> None:
        """End all of the host's processes at once; `boot` starts it again on the same tree."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            if self.leader:  # 0 would be this process's own group
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, signal.SIGKILL)
            try:
                self._nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait(10)
        self._nspawn = None

    def remove(self) -> None:
        """End the host and forget its tree."""
        self.kill()
        for port in list(self._forwards):
            self.cut(port)
        _forget(self._folder)

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | bytes = b"",
        seconds: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on the host as root; `check` makes any code but 0 a LabError."""
        text = stdin.decode() if isinstance(stdin, bytes) else stdin
        done = subprocess.run(self.argv(argv, env), input=text, capture_output=True, text=True, timeout=seconds)
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {argv} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def argv(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        """The command, from outside, that runs `argv` on the host: for a Popen of one's own."""
        settings = {"PATH": _PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"} | dict(env or {})
        # --root: where the tests run in a chroot, the namespace alone has another root than its processes.
        enter = ["nsenter", "--target", str(self.leader), "--all", "--root", "--wdns=/"]
        return [*enter, "env", "--ignore-environment", *(f"{k}={v}" for k, v in settings.items()), *argv]

    def ashore(self, *arguments: str, check: bool = True, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run ``ashore`` on the host."""
        return self.run(["/usr/local/bin/ashore", *arguments], check=check, seconds=seconds)

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file below the host's root, its folders included."""
        file = self.path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def open_kernel(self) -> None:
        """Let the host's programs write kernel settings, as on a machine of its own. Keep to those of its network:
        the others are this machine's."""
        self.run(["mount", "-o", "remount,bind,rw", "/proc/sys"])

    def show(self, unit: str, prop: str) -> str:
        """One property of a unit."""
        return self.run(["systemctl", "show", "--value", "--property", prop, unit]).stdout.strip()

    def snapshot(self, *folders: str) -> Snapshot:
        """Names, types, modes, owners, xattrs and contents below `folders`, or of all that ashore may change.

        Without what recovers it at boot: the first change places that, and it stays as ashore's state does.
        """
        return {path: what for path, what in snapshot(self.path, folders).items() if path not in RECOVERY}

    def forward(self, port: int) -> None:
        """Make 127.0.0.1:`port` of this machine reachable as the same address on the host, until `cut`."""
        self._forwards[port] = Forward(port, f"/run/netns/{self.machine}")

    def cut(self, port: int) -> None:
        """Nothing answers on `port` any more: the registry is down, for this host."""
        self._forwards.pop(port).close()

    def start_relay(self, listen: str, target: str) -> None:
        """Make a Unix socket of the host that turns outsiders away reachable as another (`relay.py`)."""
        script = Path(__file__).with_name("relay.py").read_text()
        self.run(["systemd-run", "--quiet", "/usr/bin/python3", "-c", script, listen, target])
        for _ in _ticks(_BOOT_SECONDS):
            if Path(self.live_root + listen).exists():
                return
        raise LabError(f"no relay at {listen}")

    def _mount(self) -> None:
        base = base_tree(self._include)
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={base},upperdir={self._folder}/upper,workdir={self._folder}/work"
        _run(["mount", "-t", "overlay", f"ashore-{self.name}", "-o", layers, str(self.path)])
        # A fixed machine-id: without one, systemd takes this for a first boot and enables units by preset.
        self.write("etc/machine-id", hashlib.sha256(self.name.encode()).hexdigest()[:32] + "\n", 0o444)
        self.write("etc/hostname", self.name + "\n")

    def _command(self) -> list[str]:
        return [
            "setpriv", "--pdeathsig", "KILL",  # a host does not outlive the tests
            "systemd-nspawn", "--quiet", f"--directory={self.path}", f"--machine={self.machine}",
            f"--hostname={self.name}", "--boot",
            "--register=no", "--keep-unit",  # there is no systemd outside that could keep the books
            f"--network-namespace-path=/run/netns/{self.machine}",
            "--capability=CAP_NET_ADMIN",  # the network is the host's own, its kernel settings too
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            f"--bind-ro={self._src}:{RUN}/src", f"--bind-ro={dependencies()}:{RUN}/deps",
            *(["--capability=all"] if self._engine else []),
        ]  # fmt: skip

    def _await_boot(self) -> None:
        for _ in _ticks(_BOOT_SECONDS):
            self.leader = self._find_leader()
            if self.leader:
                state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
                if state in {"running", "degraded"}:
                    return
            if self._nspawn is None or self._nspawn.poll() is not None:
                break
        raise LabError(f"{self.name} did not boot:\n{(self._folder / 'console.log').read_text()[-4000:]}")

    def _find_leader(self) -> int:
        """The host's PID 1: the child of systemd-nspawn that is the first of a PID namespace of its own."""
        if self._nspawn is None:
            return 0
        try:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            pids = [pid for pid in children if _namespace_pid(pid) == "1"]
            return int(pids[0]) if pids else 0
        except (OSError, IndexError):
            return 0

    def _make_network(self) -> None:
        """A namespace that outlives reboots: an interface with an address and the default route, for facts."""
        gateway = self.address.rpartition(".")[0] + ".1"
        _run(["ip", "netns", "add", self.machine])
        for command in (
            "link set lo up",
            "link add eth0 type veth peer name wire0",
            "link set wire0 up",
            "link set eth0 up",
            f"address add {self.address} dev eth0",
            f"route add default via {gateway} dev eth0",
        ):
            _run(["ip", "-n", self.machine, *command.split()])


@contextlib.contextmanager
def host(
    name: str,
    *,
    src: Path = CHECKOUT / "src",
    address: str = "10.77.0.2/24",
    include: Sequence[str] = (),
    engine: bool = False,
) -> Iterator[Host]:
    """A booted host, removed in the end."""
    made = Host(name, src=src, address=address, include=include, engine=engine)
    try:
        yield made.boot()
    finally:
        made.remove()


def _sweep() -> None:
    """Forget the hosts of runs that were killed: their processes died with them, the rest is still there."""
    for folder in (LAB / "hosts").glob("*-*"):
        if not Path("/proc", folder.name.rpartition("-")[2]).exists():
            _forget(folder)


def _forget(folder: Path) -> None:
    if (folder / "root").is_dir():
        subprocess.run(["umount", "--lazy", str(folder / "root")], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "delete", folder.name], stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)


def _namespace_pid(pid: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    return ""


def _ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.05)


def cached(kind: str, recipe: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, kept until its recipe is another one."""
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
    folder = LAB / f"{kind}-{key}"
    LAB.mkdir(exist_ok=True)
    with (LAB / f".{kind}-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits for what the first one makes
        if not folder.is_dir():
            new = LAB / f".{kind}-{key}.new"
            shutil.rmtree(new, ignore_errors=True)
            make(new)
            new.rename(folder)
    return folder


def make_tree(tree: Path, packages: str, suite: str = SUITE) -> None:
    """A Debian release's least system, and these packages."""
    _run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", suite, str(tree)])


def _make_base(tree: Path, packages: str) -> None:
    make_tree(tree, packages)
    finish_base(tree)


def finish_base(tree: Path) -> None:
    """What makes a plain Debian tree a host of the laboratory."""
    (tree / "etc/machine-id").unlink(missing_ok=True)
    for unit in QUIET_UNITS:
        link = tree / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    (tree / "etc/hosts").write_text(HOSTS)
    wrapper = tree / "usr/local/bin/ashore"
    wrapper.write_text(WRAPPER)
    wrapper.chmod(0o755)


def _make_dependencies(folder: Path) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    arch = os.uname().machine
    _run([
        sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--only-binary=:all:",
        "--python-version", "3.11", "--implementation", "cp", "--platform", f"manylinux2014_{arch}",
        "--platform", f"manylinux_2_28_{arch}", "--platform", f"manylinux_2_17_{arch}",
        *project["dependencies"],
    ])  # fmt: skip


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(list(argv), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
