# SPDX-License-Identifier: Apache-2.0
"""Two at once, from a host and from a container that sees the same root; killed holders; reused process numbers.

The container is a mount and a PID namespace of its own, with the root bound to another path.

    python -m tests.hostile.crash.two_at_once [--tries N]
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.figures.tally import Tally, tell
from tests.flow.machine import Machine
from tests.hostile.crash import mounts
from tests.hostile.crash.apart import apart
from tests.hostile.crash.command import ashore, write_bundles

BUSY = 9
_INSIDE = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
_HOLDS = """\
import signal, sys
from ashore.acts.tools import open_root
_, state, _, _ = open_root(sys.argv[1])
with state.locked():
    print("held", flush=True)
    signal.pause()
"""


class Pair:
    """One root, and two ways to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.rootfs = folder / "host", folder / "container/rootfs"
        for path in ("etc", "usr/lib/systemd/system", "var/lib", "opt"):
            (self.root / path).mkdir(parents=True)
        self.rootfs.mkdir(parents=True)
        self.images = write_bundles(folder)
        assert ashore("install", f"oci:{self.images['one']}", "--root", str(self.root)).returncode == 0

    def command(self, *arguments: str, inside: bool) -> subprocess.CompletedProcess[str]:
        """Run ashore on the host, or in the container."""
        root = self.rootfs if inside else self.root
        return ashore(*arguments, "--root", str(root), under=self._around(inside))

    @contextlib.contextmanager
    def holder(self, *, inside: bool) -> Iterator[subprocess.Popen[str]]:
        """Somebody who has the lock, until killed."""
        root = self.rootfs if inside else self.root
        command = [*self._around(inside), sys.executable, "-c", _HOLDS, str(root)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def _around(self, inside: bool) -> list[str]:
        bound = f'mount --bind "{self.root}" "{self.rootfs}" && exec "$@"'
        return [*_INSIDE, "sh", "-c", bound, "sh"] if inside else []

    def lock_says(self, text: str) -> None:
        (self.root / "var/lib/ashore/lock").write_text(text)


def refused(pair: Pair, tally: Tally) -> None:
    """Whoever comes second is told so, with a code of its own, and changes nothing."""
    before = apart(lambda: Machine(pair.folder).tree())
    for holds_inside, comes_inside in ((False, False), (False, True), (True, False), (True, True)):
        with pair.holder(inside=holds_inside):
            for verb in (("install", f"oci:{pair.images['two']}"), ("remove", "all"), ("rollback",), ("recover",)):
                ended = pair.command(*verb, inside=comes_inside)
                right = (
                    ended.returncode == BUSY and "another ashore" in ended.stderr and "Traceback" not in ended.stderr
                )
                tally.count(right, f"{verb[0]}, {holds_inside=} {comes_inside=}: {ended.returncode} {ended.stderr}")
    tally.count(apart(lambda: Machine(pair.folder).tree()) == before, "the second one changed something")


def freed(pair: Pair, tally: Tally) -> None:
    """A killed holder's lock is gone with it, wherever it ran."""
    for inside in (False, True):
        with pair.holder(inside=inside) as holder:
            holder.kill()
            holder.wait()
        ended = pair.command("recover", inside=not inside)
        for _ in range(50):  # the namespace's last process may take a moment to die
            if ended.returncode != BUSY:
                break
            time.sleep(0.1)
            ended = pair.command("recover", inside=not inside)
        tally.count(ended.returncode == 0, f"{inside=}: {ended.returncode} {ended.stderr}")


def reused(pair: Pair, tally: Tally) -> None:
    """The number in the lock file may be anyone's by now, or nonsense: it tells, and decides nothing."""
    for text in (f"{os.getpid()}\n", "1\n", "999999999\n", "", "not a number\n", "\0" * 100, "9" * 5000):
        pair.lock_says(text)
        ended = pair.command("recover", inside=False)
        tally.count(ended.returncode == 0, f"lock file with {text[:20]!r}: {ended.returncode} {ended.stderr}")
        pair.lock_says(text)
        with pair.holder(inside=True):
            ended = pair.command("recover", inside=False)
        tally.count(ended.returncode == BUSY, f"held, lock file with {text[:20]!r}: {ended.returncode} {ended.stderr}")


def raced(pair: Pair, tries: int, tally: Tally) -> None:
    """Both at the same moment: each is done or told to come later, and the root is whole."""
    kept = pair.folder / "kept"
    shutil.copytree(pair.root, kept, symlinks=True)
    wanted = None
    for number in range(tries):
        shutil.rmtree(pair.root)
        shutil.copytree(kept, pair.root, symlinks=True)
        both = [_started(pair, inside=inside, late=number % 5 * 0.02 * inside) for inside in (False, True)]
        codes = sorted(process.wait() for process in both)
        tree, left = apart(lambda: (Machine(pair.folder).tree(), Machine(pair.folder).leftovers()))
        wanted = wanted or tree
        right = codes in ([0, 0], [0, BUSY]) and tree == wanted and not left
        tally.count(right, f"try {number}: {codes}, left {left}, {'as' if tree == wanted else 'not as'} the others")


def _started(pair: Pair, *, inside: bool, late: float) -> subprocess.Popen[bytes]:
    root = pair.rootfs if inside else pair.root
    verb = [sys.executable, "-m", "ashore", "install", f"oci:{pair.images['two']}", "--root", str(root)]
    time.sleep(late)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*pair._around(inside), *verb], **quiet)  # type: ignore[call-overload, no-any-return]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50, help="races of two installs")
    given = parser.parse_args(arguments)
    mounts.go_private()
    second, killed, number = Tally("a second ashore, host and container"), Tally("a killed holder"), Tally("reused PID")
    race = Tally("two installs at the same moment")
    with mounts.scratch() as folder:
        pair = Pair(folder)
        refused(pair, second)
        freed(pair, killed)
        reused(pair, number)
        raced(pair, given.tries, race)
    return tell([second, killed, number, race])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
