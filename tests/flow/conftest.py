# SPDX-License-Identifier: Apache-2.0
"""A host for each story."""

from pathlib import Path

import pytest

from tests.flow.machine import Machine


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    """An offline root: files and enablement, and no PID 1."""
    return Machine(tmp_path)
