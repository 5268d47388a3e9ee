# SPDX-License-Identifier: Apache-2.0
"""The taste that tools can check, as `make check` runs them: a test, so that nobody has to remember."""

import subprocess
import sys

import pytest

from tests.system.lab import CHECKOUT


@pytest.mark.parametrize(
    "command", [("ruff", "check", "--quiet"), ("ruff", "format", "--check", "--quiet"), ("mypy",)], ids=" ".join
)
def test_the_linter_has_nothing_to_say(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
