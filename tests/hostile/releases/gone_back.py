# SPDX-License-Identifier: Apache-2.0
"""Bad releases on a booted systemd host: each has to go back by itself, and nobody may see afterwards that it came.

After each: files, enablement and units as before, what was not touched still the same process, the good generation
holds, the bad image is held, nothing is left over.

    python -m tests.hostile.releases.gone_back [--sample N] [--hosts N] [--control]
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.figures.tally import Tally, tell
from tests.hostile.releases.kinds import APP, BYSTANDER, KINDS, OTHER, SYSTEM, Release, bad, good
from tests.system import lab
from tests.system.snapshot import differences

_FOLDERS = ("etc", "opt")
_UNIT = "[Service]\nExecStart=/bin/sleep 10000\n[Install]\nWantedBy=multi-user.target\n"
_LATE_SECONDS = 25.0
_HEALTH_OFF = {
    "acts/transaction/health.py": "\nwatch = lambda *given, **named: ()\n",
    "acts/transaction/late.py": "\nsee_to = lambda tools: None\n",
}


class Site:
    """A host on which a good version of `app` runs, beside another bundle and a unit of the host's own."""

    def __init__(self, host: lab.Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        host.write(f"{SYSTEM}/{BYSTANDER}", _UNIT)
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "enable", "--now", BYSTANDER])
        self.install_good("other", 'name = "other"\n', {f"{SYSTEM}/{OTHER}": _UNIT})
        release = good()
        self.install_good("good", release.manifest(), release.tree())
        self.before = host.snapshot(*_FOLDERS)
        self.good = self.status()["generation"]
        self.number = self.good
        self.pids = self.main_pids()

    def install_good(self, tag: str, manifest: str, tree: Any) -> None:
        self.host.ashore("install", self.build(tag, manifest, tree))

    def build(self, tag: str, manifest: str, tree: Any) -> str:
        top = self.folder / tag
        for path, text in tree.items():
            (top / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            (top / "root" / path).write_text(text)
        (top / "bundle.toml").write_text(manifest)
        target = f"oci:{self.host.path}/srv/{tag}"
        command = [sys.executable, "-m", "ashore", "build", "--no-lint", str(top), "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(top)
        return f"oci:/srv/{tag}"

    def status(self) -> Any:
        return json.loads(self.host.ashore("status", "--json").stdout)

    def main_pids(self) -> dict[str, str]:
        shown = self.host.run(["systemctl", "show", "--property", "Id,MainPID,ActiveState", APP, OTHER, BYSTANDER])
        found = {}
        for block in shown.stdout.strip().split("\n\n"):
            said = dict(line.split("=", 1) for line in block.splitlines())
            found[said["Id"]] = said["MainPID"] if said["ActiveState"] == "active" else said["ActiveState"]
        return found

    def tried(self, number: int) -> tuple[Release, list[str]]:
        """A bad release comes: what is wrong afterwards."""
        release = bad(number)
        name = self.build(f"bad-{number}", release.manifest(), release.tree())
        done = self.host.ashore("install", name, check=False)
        found = []
        if done.returncode != (0 if release.late else 7):
            found.append(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        status = self._gone_back(self.number + 2) if release.late and not found else self.status()
        found += self._wrong(release, status, name)
        self._be_as_before(bool(found), status["generation"])
        shutil.rmtree(self.host.path / "srv" / f"bad-{number}")
        return release, found

    def _gone_back(self, number: int) -> Any:
        """The status once generation `number` holds and is complete, or as it is when that takes too long."""
        end = time.monotonic() + _LATE_SECONDS
        while (status := self.status())["generation"] < number and time.monotonic() < end:
            time.sleep(0.3)
        while (self.host.path / "var/lib/ashore/journal").exists() and time.monotonic() < end:
            time.sleep(0.1)
        return self.status() if status["generation"] >= number else status

    def _wrong(self, release: Release, status: Any, name: str) -> list[str]:
        found = differences(self.before, self.host.snapshot(*_FOLDERS))
        if status["generation"] != self.number + (2 if release.late else 0):
            found.append(f"generation {status['generation']} after {self.number}")
        if release.late and "failed late" not in status["reason"]:
            found.append(f"the reason that is told is {status['reason']!r}")
        if [b["reference"] for b in status["bundles"] if b["name"] == "app"] != ["oci:/srv/good"]:
            found.append("another image is recorded")
        if name not in [held["reference"] for held in status["held"]]:
            found.append("it is not held")
        if status["interrupted"] or status["drift"]:
            found.append(f"interrupted {status['interrupted']}, drift {status['drift']}")
        now = self.main_pids()
        for unit, pid in now.items():
            touched = (unit == APP and not release.refused) or (unit == OTHER and release.disturbs)
            if not pid.isdigit() or (not touched and pid != self.pids[unit]):
                found.append(f"{unit} is {pid}, was {self.pids[unit]}")
        ill = self.host.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).stdout.split()
        found += [f"failed: {ill[0]}"] if ill else []
        state = self.host.path / "var/lib/ashore"
        found += [f"left: {p.name}" for pattern in ("journal*", "stage/*", "*.new") for p in state.glob(pattern)]
        self.pids = now
        return found

    def _be_as_before(self, spoiled: bool, generation: int) -> None:
        """The next one begins from the good version again."""
        self.number = generation
        if spoiled:
            self.host.run(["systemctl", "reset-failed"], check=False)
            self.host.ashore("install", "oci:/srv/good", check=False)
            self.host.run(["systemctl", "restart", OTHER, APP], check=False)
            self.number, self.pids = self.status()["generation"], self.main_pids()


def _src(folder: Path, *, control: bool) -> Path:
    """ashore's source; for the control with nobody looking whether anything is healthy."""
    if not control:
        return lab.CHECKOUT / "src"
    shutil.copytree(lab.CHECKOUT / "src", folder / "src")
    for name, text in _HEALTH_OFF.items():
        with (folder / "src/ashore" / name).open("a") as file:
            file.write(text)
    return folder / "src"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=200, help="so many releases; their kinds go round")
    parser.add_argument("--hosts", type=int, default=3, help="on so many hosts at a time: most of it is waiting")
    parser.add_argument("--control", action="store_true", help="with health switched off: must fail")
    given = parser.parse_args(arguments)
    off = ", health switched off" * given.control
    tally = Tally(f"bad releases of {min(len(KINDS), given.sample)} kinds gone back by themselves{off}",
                  expected=not given.control)  # fmt: skip
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        src = _src(folder, control=given.control)
        hosts = [stack.enter_context(lab.host(f"bad{n}", src=src)) for n in range(given.hosts)]
        pool = stack.enter_context(ThreadPoolExecutor(given.hosts))
        sites = list(pool.map(lambda n: Site(hosts[n], folder / str(n)), range(given.hosts)))
        turns = [range(n, given.sample, given.hosts) for n in range(given.hosts)]
        for tries in pool.map(lambda at: [(n, *at[0].tried(n)) for n in at[1]], zip(sites, turns, strict=True)):
            for number, release, found in tries:
                tally.count(not found, f"{number}, {release.kind}: {'; '.join(found[:6])}")
    return tell([tally])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
