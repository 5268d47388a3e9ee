# SPDX-License-Identifier: Apache-2.0
"""The real command, killed by strace before each of its file-changing system calls; on a root of several mounts.

python -m tests.hostile.crash.command [--sample N]
"""

import argparse
import collections
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.figures.tally import Tally, tell
from tests.flow.machine import Machine
from tests.hostile.crash import mounts
from tests.hostile.crash.apart import apart
from tests.hostile.crash.hosts import SeveralMounts, several_mounts
from tests.hostile.crash.subjects import Seen, wrong

CHANGING = ",".join(
    (
        *("write", "writev", "pwrite64", "copy_file_range", "sendfile", "ftruncate", "truncate", "fallocate"),
        *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
        *("symlink", "symlinkat", "link", "linkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat"),
        *("setxattr", "fsetxattr", "lsetxattr", "removexattr", "fremovexattr", "lremovexattr"),
    )
)
"""What strace counts. A file that is opened to be created is not in it: kills.py has those."""
ERRORS = ("ENOSPC", "EIO", "EROFS", "EPERM", "EDQUOT")
ACTS: dict[str, tuple[Sequence[Sequence[str]], Sequence[str]]] = {
    "install": ((), ("install", "oci:{one}")),
    "upgrade": ((("install", "oci:{one}"),), ("install", "oci:{two}")),
    "rollback": ((("install", "oci:{one}"), ("install", "oci:{two}")), ("rollback",)),
    "remove": ((("install", "oci:{one}"),), ("remove", "all")),
    "prune": ((("install", "oci:{one}"), ("install", "oci:{two}")), ("prune", "--keep", "1", "--yes")),
}
_UNIT = "[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"


def write_bundles(folder: Path) -> dict[str, Path]:
    """Two versions of a bundle as image layouts."""
    for version in ("one", "two"):
        bundle = folder / f"bundle-{version}"
        files = {f"etc/app/{n}.conf": f"{version} {n}\n" for n in range(4)}
        files |= {"etc/systemd/system/app.service": _UNIT + f"# {version}\n", "srv/note": f"{version}\n"}
        files |= {"opt/bin/app": f"{version}\n" * 5000, "var/lib/app/deep/er/file": "same\n"}
        files |= {"opt/first/a": "a\n"} if version == "one" else {"opt/second/a": "a\n", "opt/first": "a file now\n"}
        for path, text in files.items():
            (bundle / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            (bundle / "root" / path).write_text(text)
        (bundle / "root/opt/bin/app").chmod(0o755)
        (bundle / "root/etc/app/link").symlink_to(f"{1 if version == 'one' else 2}.conf")
        (bundle / "bundle.toml").write_text('name = "all"\nschema = 1\nversion = "1"\n')
        built = ashore("build", str(bundle), "-o", f"oci:{folder / version}")
        assert built.returncode == 0, built.stderr
    return {version: folder / version for version in ("one", "two")}


def ashore(*arguments: str, under: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [*under, sys.executable, "-m", "ashore", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": "/nonexistent/cache"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


class Act:
    """One verb of the command line, on a host that is put back before each try."""

    def __init__(self, name: str, host: SeveralMounts, images: dict[str, Path]) -> None:
        self.host = host
        before, act = ACTS[name]
        named = {version: str(path) for version, path in images.items()}
        self._command = [*(part.format(**named) for part in act), "--root", str(host.root)]
        host.clear()
        for path in ("etc/systemd/system", "usr/lib/systemd/system", "home/shelf"):
            (host.root / path).mkdir(parents=True, exist_ok=True)
        for earlier in before:
            self._succeed([*(part.format(**named) for part in earlier), "--root", str(host.root)])
        host.keep()
        self.old = apart(self._tree)
        self.calls = self._count()
        self.new = apart(self._tree)

    def kill(self, at: int) -> list[str]:
        """What is wrong after a kill at file-changing call `at`, counted from 0, and ``ashore recover``."""
        ended = self._disturbed(at, "signal=KILL")
        if ended.returncode not in (-9, 137):
            return [f"it was not killed: {ended.returncode} {ended.stderr[-300:]}"]
        recovered = ashore("recover", "--root", str(self.host.root))
        if recovered.returncode:
            return [f"not recovered: {recovered.returncode} {recovered.stderr[-300:]}"]
        tree, found = apart(lambda: (self._tree(), wrong(Machine(self.host.folder))))
        return found if tree in (self.old, self.new) else [*found, "neither old nor new"]

    def fail(self, at: int) -> list[str]:
        """What is wrong after call `at` failed: with the exit code, what it stands for, and ``ashore recover``."""
        error = ERRORS[at % len(ERRORS)]
        ended = self._disturbed(at, f"error={error}")
        found = [] if ended.returncode in (0, 7, 8) else [f"{error}: exit {ended.returncode} {ended.stderr[-300:]}"]
        found += [f"{error}: a traceback"] if "Traceback" in ended.stderr else []
        tree = apart(self._tree)
        if ended.returncode in (0, 7) and tree != (self.old if ended.returncode else self.new):
            found.append(f"{error}: exit {ended.returncode} is not true")
        recovered = ashore("recover", "--root", str(self.host.root))
        if recovered.returncode:
            return [*found, f"{error}: not recovered: {recovered.returncode} {recovered.stderr[-300:]}"]
        tree, left = apart(lambda: (self._tree(), wrong(Machine(self.host.folder))))
        return [*found, *left] if tree in (self.old, self.new) else [*found, *left, f"{error}: neither old nor new"]

    def _disturbed(self, at: int, how: str) -> subprocess.CompletedProcess[str]:
        self.host.put_back()
        name, number = self.calls[at]
        inject = f"inject={name}:{how}:when={number}"
        # Not with --seccomp-bpf: strace 6.1 then injects nothing.
        return ashore(
            *self._command,
            under=["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={CHANGING}", "-e", inject],
        )

    def _tree(self) -> Seen:
        return Machine(self.host.folder).tree()

    def _succeed(self, command: Sequence[str]) -> None:
        done = ashore(*command)
        assert done.returncode == 0, done.stderr

    def _count(self) -> list[tuple[str, int]]:
        """The file-changing calls of an undisturbed run: each one's name, and the how many-th of that name it is."""
        log = self.host.folder / "calls"
        traced = ["strace", "-f", "-qqq", "--seccomp-bpf", "-o", str(log), "-e", f"trace={CHANGING}"]
        done = ashore(*self._command, under=traced)
        assert done.returncode == 0, done.stderr
        called = [tuple(line.split(maxsplit=1)) for line in log.read_text().splitlines() if "(" in line]
        # Each thread is counted by itself; the one that changes the host is the one with the most.
        busiest = collections.Counter(thread for thread, _ in called).most_common(1)[0][0]
        made = [call for thread, call in called if thread == busiest]
        names = [call.partition("(")[0] for call in made]
        # What is said is no change of the host.
        return [
            (name, names[: at + 1].count(name))
            for at, name in enumerate(names)
            if not made[at].startswith(("write(1,", "write(2,"))
        ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sample", type=int, default=0, help="at most so many kills of each act; else before all calls"
    )
    parser.add_argument("--errors", action="store_true", help="each call fails, instead of a kill")
    parser.add_argument("--act", action="append", choices=ACTS, help="all if not given")
    given = parser.parse_args(arguments)
    mounts.go_private()
    dice, tallies = random.Random(1), []
    with several_mounts() as host:
        images = write_bundles(host.folder)
        for name in given.act or ACTS:
            act = Act(name, host, images)
            tally = Tally(
                f"a system call of the command fails, {name}" if given.errors else f"the command killed, {name}"
            )
            tallies.append(tally)
            every = range(len(act.calls))
            for at in sorted(dice.sample(every, given.sample)) if 0 < given.sample < len(every) else every:
                found = act.fail(at) if given.errors else act.kill(at)
                tally.count(not found, f"at call {at} of {len(every)}, {act.calls[at]}: {'; '.join(found[:6])}")
    return tell(tallies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
