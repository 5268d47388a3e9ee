# SPDX-License-Identifier: Apache-2.0
"""All tests, two at a time: machines that QEMU emulates take minutes to boot, and beside them runs everything else.

Only those are independent of the rest. Hosts in containers are not of each other: they share a control group.
"""

import signal
import subprocess
import sys
import tempfile

_MACHINES = "tests/vm"


def main() -> int:
    """Run them, print what both said, and return the first code that is not 0."""
    with tempfile.TemporaryFile() as said:
        own_cache = ["-o", "cache_dir=.pytest_cache/machines"]
        machines = subprocess.Popen([*_pytest(), _MACHINES, *own_cache], stdout=said, stderr=subprocess.STDOUT)
        rest = subprocess.Popen([*_pytest(), f"--ignore={_MACHINES}"])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one from the keyboard reaches both, and each puts its own away
        codes = rest.wait(), machines.wait()
        said.seek(0)
        sys.stdout.write(said.read().decode(errors="replace"))
    return codes[0] or codes[1]


def _pytest() -> list[str]:
    return [sys.executable, "-m", "pytest", *sys.argv[1:]]


if __name__ == "__main__":
    sys.exit(main())
