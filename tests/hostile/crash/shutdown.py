# SPDX-License-Identifier: Apache-2.0
"""The real command on a file system that is shut down, as by a power cut, at a random moment.

The file system's own shutdown (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN) drops what is not on the disk yet.

    python -m tests.hostile.crash.shutdown [--sample N] [--control]
"""

import argparse
import fcntl
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.figures.tally import Tally, tell
from tests.flow.machine import Machine
from tests.hostile.crash import mounts
from tests.hostile.crash.apart import apart, neighbour
from tests.hostile.crash.command import ashore, write_bundles
from tests.hostile.crash.subjects import Seen, wrong

_SHUTDOWN, _WITHOUT_THE_LOG = 0x8004587D, 2
_SYNCING_OFF = """\
import os, sys
os.fsync = os.fdatasync = lambda descriptor: None
from ashore.mechanisms import syscalls
syscalls.syncfs = lambda descriptor: None
from ashore.__main__ import main
sys.exit(main())
"""


def shut_down(mounted: Path) -> None:
    """Stop the file system that is mounted there: what is not on the disk yet is lost."""
    descriptor = os.open(mounted, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_LOG))
    finally:
        os.close(descriptor)


class Rig:
    """A root on one file system, with version one installed; version two is what is cut off."""

    def __init__(self, folder: Path, kind: str, *, syncing: bool) -> None:
        self.folder, self.kind = folder, kind
        self.root = folder / "host"
        images = write_bundles(folder)
        self._program = ["-m", "ashore"] if syncing else ["-c", _SYNCING_OFF]
        self._upgrade = ["install", f"oci:{images['two']}", "--root", str(self.root)]
        mounts.format_image(folder / "base.img", kind)
        with self._mounted(folder / "base.img"):
            for path in ("etc/systemd/system", "usr/lib/systemd/system", "var/lib", "opt", "srv"):
                (self.root / path).mkdir(parents=True, exist_ok=True)
            (self.root / "neighbour").touch()
            first = ashore("install", f"oci:{images['one']}", "--root", str(self.root))
            assert first.returncode == 0, first.stderr
            self.old = apart(self._tree)
        mounts.copy_sparse(folder / "base.img", folder / "try.img")
        with self._mounted(folder / "try.img"):
            began = time.monotonic()
            upgrade = self._start()
            assert upgrade.wait() == 0
            self.takes = time.monotonic() - began
            self.new = apart(self._tree)

    def cut(self, after: float) -> list[str]:
        """What is wrong after a cut `after` seconds, a mount, and ``ashore recover``."""
        mounts.copy_sparse(self.folder / "base.img", self.folder / "try.img")
        with self._mounted(self.folder / "try.img"):
            syncing = neighbour(self.root)
            upgrade = self._start()
            try:
                done = upgrade.wait(after) == 0
            except subprocess.TimeoutExpired:
                done = False
            shut_down(self.root)
            upgrade.kill()
            upgrade.wait()
            syncing.end()
        with self._mounted(self.folder / "try.img"):
            return self._judge((self.new,) if done else (self.old, self.new))

    def _judge(self, allowed: Sequence[Seen]) -> list[str]:
        recovered = ashore("recover", "--root", str(self.root))
        if recovered.returncode:
            return [f"not recovered: {recovered.returncode} {recovered.stderr[-300:]}"]
        tree, found = apart(lambda: (self._tree(), wrong(Machine(self.folder))))
        return found if tree in allowed else [*found, "neither old nor new" if len(allowed) > 1 else "was done, is not"]

    def _start(self) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, *self._program, *self._upgrade], **quiet)  # type: ignore[call-overload, no-any-return]

    def _tree(self) -> Seen:
        return Machine(self.folder).tree()

    def _mounted(self, image: Path) -> mounts.Mounted:
        return mounts.Mounted(image, self.root, self.kind)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=150, help="so many cuts of each file system")
    parser.add_argument("--control", action="store_true", help="with syncing switched off: must fail")
    given = parser.parse_args(arguments)
    mounts.go_private()
    dice, tallies = random.Random(1), []
    for kind in mounts.SIZES:
        with mounts.scratch() as folder:
            rig = Rig(folder, kind, syncing=not given.control)
            tally = Tally(
                f"shut down at a random moment{', syncing off' * given.control}, {kind}", expected=not given.control
            )
            tallies.append(tally)
            for _ in range(given.sample):
                after = rig.takes * dice.uniform(0.2, 1.1)
                found = rig.cut(after)
                tally.count(not found, f"after {after:.3f} of {rig.takes:.3f} s: {'; '.join(found[:6])}")
    return tell(tallies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
