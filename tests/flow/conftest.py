# SPDX-License-Identifier: Apache-2.0
"""A host for each story, and a user at its shell."""

from pathlib import Path

import pytest

from tests.cli.shell import Shell, quiet_shell
from tests.flow.machine import Machine


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    """An offline root: files and enablement, and no PID 1."""
    return Machine(tmp_path)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A user at a shell; nothing of the real machine's settings or cache is seen."""
    return quiet_shell(tmp_path, monkeypatch)
