# SPDX-License-Identifier: Apache-2.0
"""The quick part of each crash harness; the whole of each runs with `make figures`."""

import subprocess
import sys

import pytest

from tests.hostile.crash import mounts
from tests.system.conftest import require_real

QUICK = {
    "kills": ("--sample", "8", "--again", "8"),
    "command": ("--sample", "3"),
    "command --errors": ("--sample", "3"),
    "powercut": ("--sample", "4", "--busy-sample", "4"),
    "powercut --control": ("--sample", "10", "--busy-sample", "15", "--file-system", "ext4", "--act", "upgrade"),
    "shutdown": ("--sample", "3"),
    "booted": ("--sample", "2", "--file-system", "xfs"),
    "installer": ("--tries", "3"),
    "faults": ("--sample", "8", "--full", "3"),
    "two_at_once": ("--tries", "3"),
}


@pytest.mark.real
@pytest.mark.parametrize("harness", QUICK)
def test_what_is_broken_off_ends_at_the_old_or_the_new(harness: str) -> None:
    if harness in ("booted", "installer"):
        require_real()
    if reason := mounts.missing("strace", "mkfs.ext4", "mkfs.xfs", "unshare", "cp"):
        pytest.skip(f"nothing can be broken here: {reason}")
    module, *options = harness.split()
    command = [sys.executable, "-m", f"tests.hostile.crash.{module}", *options, *QUICK[harness]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " / " in done.stdout, "it tried nothing"
