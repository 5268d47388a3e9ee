# SPDX-License-Identifier: Apache-2.0
"""Power cuts of booted systemd hosts: at a random moment of an upgrade their disk stops, and all is killed.

At the next boot there is no network and no image any more: ashore-recover.service alone brings the host to the old
or the new version, before any unit of the bundle starts. Each unit writes down what it sees when it starts.

    python -m tests.hostile.crash.booted [--sample N] [--control]
"""

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ashore.nouns.installer import RECOVER_UNIT
from tests.figures.tally import Tally, tell
from tests.hostile.crash import mounts
from tests.hostile.crash.apart import neighbour
from tests.hostile.crash.command import ashore
from tests.hostile.crash.shutdown import shut_down
from tests.system import lab

SIZE = 1 << 30
UNITS = ("first.service", "second.service")
_FOLDERS = ("etc/app", "etc/systemd/system", "opt/app", "usr/local/lib/app", "var/lib/app")
_IMAGES = "srv/images"
_PROGRAM = """\
#!/bin/sh
cat /etc/app/* /opt/app/data/* /usr/local/lib/app/* /var/lib/app/* | sort -u >/run/seen-by-$1
exec sleep infinity
"""
_SYNCING_OFF = "\nimport os\nos.fsync = os.fdatasync = lambda descriptor: None\n"


def write_bundles(folder: Path) -> None:
    """Two versions, of many files in folders that a booted host has; as layouts in `folder`."""
    for version in ("one", "two"):
        root = folder / f"bundle-{version}/root"
        files = {f"etc/app/{n}.conf": f"{version}\n" for n in range(25)}
        files |= {f"{top}/{n}": f"{version}\n" for top in _FOLDERS[3:] for n in range(15)}
        files |= {f"opt/app/data/{version}-{n}": f"{version}\n" for n in range(15)}
        files["opt/app/program"] = _PROGRAM + f"# {version}\n"
        for unit in UNITS:
            run = f"ExecStart=/opt/app/program {unit}\n"
            files[f"etc/systemd/system/{unit}"] = (
                f"[Service]\n{run}[Install]\nWantedBy=multi-user.target\n# {version}\n"
            )
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        (root / "opt/app/program").chmod(0o755)
        (root.parent / "bundle.toml").write_text(f'name = "app"\nversion = "{version}"\n')
        built = ashore("build", str(root.parent), "-o", f"oci:{folder / version}")
        assert built.returncode == 0, built.stderr


class DiskHost(lab.Host):
    """A host whose whole root lies on one file system of its own."""

    def __init__(self, image: Path, kind: str, src: Path) -> None:
        super().__init__("cut", src=src)
        self._image, self._kind = image, kind

    def boot(self) -> "DiskHost":
        super().boot()
        return self

    def power_cut(self) -> None:
        """What is not on the disk is lost, and everything that ran is gone."""
        shut_down(self.path)
        self.kill()
        self.unmount()

    def unmount(self) -> None:
        mounts.unmount(self.path)
        self.path.rmdir()

    def _mount(self) -> None:
        mounts.mount_image(self._image, self.path, self._kind)

    def _make_network(self) -> None:
        if not Path("/run/netns", self.machine).exists():
            super()._make_network()


class Rig:
    """A kind of file system, and a host on it with version one installed; version two is what is cut off."""

    def __init__(self, folder: Path, kind: str, *, syncing: bool) -> None:
        self._folder, self._kind = folder, kind
        self._base, self._image = folder / "base.img", folder / "try.img"
        self.interrupted = 0
        """Cuts that found a transaction under way."""
        self._src = lab.CHECKOUT / "src" if syncing else _without_syncing(folder / "src")
        write_bundles(folder)
        mounts.format_image(self._base, kind, SIZE)
        with mounts.Mounted(self._base, folder / "made", kind):
            self._furnish(folder / "made")
        with self._host(self._base) as host:
            host.ashore("install", f"oci:/{_IMAGES}/one")
            self.old = host.snapshot(*_FOLDERS)
            host.run(["systemctl", "--no-block", "poweroff"])
            host.ended()
        with self._again() as host:
            began = time.monotonic()
            assert self._upgrade(host).wait() == 0
            self.takes = time.monotonic() - began
            self.new = host.snapshot(*_FOLDERS)

    def cut(self, after: float) -> list[str]:
        """What is wrong after a cut so many seconds into the upgrade, and a boot."""
        with self._again() as host:
            (host.path / "neighbour").touch()
            syncing = neighbour(host.path)
            upgrade = self._upgrade(host)
            with contextlib.suppress(subprocess.TimeoutExpired):
                upgrade.wait(after)
            done = upgrade.poll() == 0
            host.power_cut()
            upgrade.kill()
            upgrade.wait()
            syncing.end()
            with mounts.Mounted(self._image, self._folder / "made", self._kind):
                self.interrupted += (self._folder / "made/var/lib/ashore/journal").exists()
                shutil.rmtree(self._folder / "made" / _IMAGES)
            host.boot()
            return self._judge(host, done=done)

    def _judge(self, host: DiskHost, *, done: bool) -> list[str]:
        found, tree = [], host.snapshot(*_FOLDERS)
        if tree not in ((self.new,) if done else (self.old, self.new)):
            found.append("was said to be done, and is not" if done else "neither old nor new")
        state = host.path / "var/lib/ashore"
        found += [f"left: {p.name}" for name in ("journal*", "stage/*", "*.new") for p in state.glob(name)]
        for unit in UNITS:
            seen = Path(host.live_root, f"run/seen-by-{unit}")
            said = seen.read_text().split() if seen.exists() else []
            if len(said) != 1:
                found.append(f"{unit} started with files of {' and '.join(said) or 'nobody'}")
            if host.show(unit, "ActiveState") != "active":
                found.append(f"{unit} is {host.show(unit, 'ActiveState')}")
        if host.show(RECOVER_UNIT, "Result") != "success":
            found.append(host.run(["journalctl", "--boot", "--no-pager", "-u", RECOVER_UNIT]).stdout[-500:])
        return found

    def _furnish(self, root: Path) -> None:
        subprocess.run(["cp", "-a", f"{lab.base_tree()}/.", str(root)], check=True)
        for version in ("one", "two"):
            shutil.copytree(self._folder / version, root / _IMAGES / version)
        for path, text in (
            ("etc/machine-id", "5" * 32 + "\n"),
            ("etc/hostname", "cut\n"),
        ):
            (root / path).write_text(text)

    @contextlib.contextmanager
    def _again(self) -> Iterator[DiskHost]:
        mounts.copy_sparse(self._base, self._image)
        with self._host(self._image) as host:
            yield host

    @contextlib.contextmanager
    def _host(self, image: Path) -> Iterator[DiskHost]:
        host = DiskHost(image, self._kind, self._src)
        try:
            yield host.boot()
        finally:
            host.kill()
            host.remove()

    @staticmethod
    def _upgrade(host: lab.Host) -> subprocess.Popen[bytes]:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = host.argv(["/usr/local/bin/ashore", "install", f"oci:/{_IMAGES}/two"])
        return subprocess.Popen(command, **quiet)  # type: ignore[call-overload, no-any-return]


def _without_syncing(src: Path) -> Path:
    shutil.copytree(lab.CHECKOUT / "src", src)
    for name, text in (("__init__", _SYNCING_OFF), ("mechanisms/syscalls", "\nsyncfs = lambda descriptor: None\n")):
        with (src / f"ashore/{name}.py").open("a") as file:
            file.write(text)
    return src


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=40, help="so many cuts of each file system")
    parser.add_argument("--control", action="store_true", help="with ashore's syncing switched off: must fail")
    parser.add_argument("--file-system", action="append", choices=mounts.SIZES, help="both if not given")
    given = parser.parse_args(arguments)
    lab.base_tree()
    lab.dependencies()
    mounts.go_private()
    dice, tallies = random.Random(1), []
    for kind in given.file_system or mounts.SIZES:
        off = ", syncing off" * given.control
        tally = Tally(f"a booted host cut off and booted again{off}, {kind}", expected=not given.control)
        tallies.append(tally)
        with mounts.scratch() as folder:
            rig = Rig(folder, kind, syncing=not given.control)
            for _ in range(given.sample):
                after = rig.takes * dice.uniform(0.3, 1.1)
                found = rig.cut(after)
                tally.count(not found, f"after {after:.2f} of {rig.takes:.2f} s: {'; '.join(found[:6])}")
            print(f"{kind}: {rig.interrupted} of the cuts found a transaction under way", file=sys.stderr)
    return tell(tallies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
