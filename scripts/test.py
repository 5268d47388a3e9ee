# SPDX-License-Identifier: Apache-2.0
"""All tests, in three runs at a time, since much of a run is waiting.

Machines that QEMU emulates take minutes to boot; what needs neither a machine nor a host works in temporary folders;
the rest, hosts in containers first of all, share a control group and Docker and stay one after the other.
"""

import signal
import subprocess
import sys
import tempfile
from typing import IO

_MACHINES = ("tests/vm",)
_FOLDERS = ("tests/unit", "tests/cli", "tests/flow", "tests/hostile/fuzz", "tests/hostile/model", "tests/hostile/state")


def main() -> int:
    """Run them, print what each said, and return the first code that is not 0."""
    with tempfile.TemporaryFile() as machines, tempfile.TemporaryFile() as folders:
        runs = [
            _start("machines", *_MACHINES, said=machines),
            _start("folders", *_FOLDERS, said=folders),
            _start("hosts", *(f"--ignore={path}" for path in (*_MACHINES, *_FOLDERS))),
        ]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one from the keyboard reaches all, and each puts its own away
        codes = [run.wait() for run in reversed(runs)]
        for said in (folders, machines):
            said.seek(0)
            sys.stdout.write(said.read().decode(errors="replace"))
    return next((code for code in codes if code), 0)


def _start(name: str, *tests: str, said: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """One run; what it says goes to `said`, or to the terminal as it comes."""
    own_cache = ["-o", f"cache_dir=.pytest_cache/{name}"]
    command = [sys.executable, "-m", "pytest", *sys.argv[1:], *tests, *own_cache]
    return subprocess.Popen(command, stdout=said, stderr=said and subprocess.STDOUT)


if __name__ == "__main__":
    sys.exit(main())
