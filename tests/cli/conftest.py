# SPDX-License-Identifier: Apache-2.0
"""A user's shell for each test."""

from pathlib import Path

import pytest

from tests.cli.shell import Shell, quiet_shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return quiet_shell(tmp_path, monkeypatch)
