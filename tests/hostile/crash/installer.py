# SPDX-License-Identifier: Apache-2.0
"""An installer image's container killed at a random moment, with all of its processes, as when its engine restarts.

What it had handed over goes on under PID 1. The host then holds the bundle or nothing of it, and the image run once
more brings it.

    python -m tests.hostile.crash.installer [--tries N]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.figures.tally import Tally, tell
from tests.system import lab
from tests.system.own_build import own_build, without_python
from tests.system.snapshot import Snapshot, differences
from tests.system.test_installer import ASHORE, CONTAINER, REFERENCE, bundle, unpack

_RUNNING = "container.service"
_SECONDS = 60.0
_RESET = """\
/opt/bin/ashore remove worker --purge
rm -rf /opt/ashore /opt/bin /opt/app /var/lib/ashore /etc/app \
  /etc/systemd/system/ashore-recover.service /etc/systemd/system/sysinit.target.wants/ashore-recover.service
systemctl daemon-reload
systemctl reset-failed
"""


class Site:
    """A booted host without Python, on which an engine has unpacked the image."""

    def __init__(self, host: lab.Host, layout: Path) -> None:
        self.host = host
        without_python(host)
        for mountpoint in ("rootfs", "proc"):
            (host.path / "srv/image" / mountpoint).mkdir(parents=True)
        unpack(host, layout)
        (host.path / "etc/systemd/system/sysinit.target.wants").mkdir(exist_ok=True)
        self.old = self._look()
        began = time.monotonic()
        self._run().wait(_SECONDS)
        self.takes = time.monotonic() - began
        self.new = self._look()
        assert self.new != self.old, host.run(["journalctl", "--no-pager"]).stdout[-3000:]

    def kill(self, after: float) -> list[str]:
        """What is wrong after the container was killed so many seconds in, and after it was run again."""
        self.host.run(["sh", "-c", _RESET], check=False)
        container = self._run()
        time.sleep(after)
        self.host.run(["systemctl", "kill", "--signal=KILL", _RUNNING], check=False)
        container.wait(_SECONDS)
        self._await_end()
        found = []
        if (self.host.path / "opt/bin/ashore").is_symlink():
            recovered = self.host.run(["/opt/bin/ashore", "recover"], check=False)
            found += [f"recover: {recovered.returncode} {recovered.stderr}"] if recovered.returncode else []
            found += self._left()  # without ashore on the host nobody can have tidied up before the next run
        found += self._between()
        again = self._run()
        if code := again.wait(_SECONDS):
            said = self.host.run(["journalctl", "--no-pager", "--output=cat", "--lines=12"]).stdout
            found.append(f"run again, it ended with {code}: {said}")
        found += [f"run again: {line}" for line in differences(self.new, self._look())]
        if self.host.show("app.service", "ActiveState") != "active":
            found.append("run again: the unit does not run")
        return found + [f"run again: {line}" for line in self._left()]

    def _between(self) -> list[str]:
        """What is neither of the old nor of the new."""
        seen = self._look()
        lines = min(differences(self.old, seen), differences(self.new, seen), key=len)
        return [f"in between: {line}" for line in lines]

    def _left(self) -> list[str]:
        state = self.host.path / "var/lib/ashore"
        return [f"left: {p.name}" for name in ("journal*", "stage/*", "*.new") for p in state.glob(name)]

    def _look(self) -> Snapshot:
        """The bundle's paths: what ashore itself is on the host is another matter."""
        seen = self.host.snapshot("etc/app", "etc/systemd/system", "opt")
        return {
            path: what for path, what in seen.items() if "ashore" not in path and path not in ("opt/bin", "etc/app")
        }

    def _run(self) -> subprocess.Popen[bytes]:
        """The container, as a service of its engine's."""
        entry = ["/ashore/bin/ashore", "hand-over", "--reference", REFERENCE]
        container = ["unshare", "--mount", "sh", "-c", CONTAINER.replace("\n", "; "), "sh", "all", *entry]
        command = ["systemd-run", "--quiet", "--collect", "--wait", f"--unit={_RUNNING}", *container]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.host.argv(command), **quiet)  # type: ignore[call-overload, no-any-return]

    def _await_end(self) -> None:
        """Wait for what PID 1 was given."""
        deadline, listed = time.monotonic() + _SECONDS, ""
        while time.monotonic() < deadline:
            listed = self.host.run(["systemctl", "list-units", "--output=json", "ashore-*.service"]).stdout
            units = [unit for unit in json.loads(listed) if not unit["unit"].startswith("ashore-watch-")]
            if not any(unit["sub"] in ("start", "running") for unit in units):
                return
            time.sleep(0.05)
        raise lab.LabError(f"it does not end: {listed}")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=40)
    given = parser.parse_args(arguments)
    dice, tally = random.Random(1), Tally("an installer image's container killed at a random moment")
    with tempfile.TemporaryDirectory() as name, lab.host("installer") as host:
        layout = Path(name, "out")
        made = bundle(Path(name), "1")
        build = [ASHORE, "build", str(made), "--installer", "--self-contained", str(own_build()), "-o", f"oci:{layout}"]
        subprocess.run(build, check=True, capture_output=True)
        site = Site(host, layout)
        for _ in range(given.tries):
            after = site.takes * dice.uniform(0.05, 1.0)
            found = site.kill(after)
            tally.count(not found, f"after {after:.2f} of {site.takes:.2f} s: {'; '.join(found[:6])}")
    return tell([tally])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
