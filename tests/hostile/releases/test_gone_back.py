# SPDX-License-Identifier: Apache-2.0
"""One bad release of each kind, and the control; all of them run with `make figures`."""

import subprocess
import sys

import pytest

from tests.hostile.releases.kinds import KINDS
from tests.system.conftest import require_real


@pytest.mark.real
@pytest.mark.parametrize("options", [("--sample", str(len(KINDS))), ("--sample", "6", "--control")], ids=" ".join)
def test_bad_releases_go_back_by_themselves_and_without_health_they_do_not(options: tuple[str, ...]) -> None:
    require_real()
    command = [sys.executable, "-m", "tests.hostile.releases.gone_back", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f" / {options[1]}" in done.stdout
