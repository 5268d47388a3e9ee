# SPDX-License-Identifier: Apache-2.0
"""A host for each story, and a user at its shell."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell, quiet_shell
from tests.fakes.registry import FakeRegistry
from tests.flow.machine import Machine


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    """An offline root: files and enablement, and no PID 1."""
    return Machine(tmp_path)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A user at a shell; nothing of the real machine's settings or cache is seen."""
    return quiet_shell(tmp_path, monkeypatch)


@pytest.fixture
def open_shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell that other users can walk to.

    Not below pytest's folder: each run of pytest that begins closes that to all but its owner, for runs beside it too.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield quiet_shell(Path(folder), monkeypatch)
        monkeypatch.undo()  # nobody stands in the folder when it goes


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry in memory, on loopback."""
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """In memory where that takes extended attributes: thousands of syncs need no disk to prove the order."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        try:
            os.setxattr(folder, "user.probe", b"x")
            yield Path(folder)
        except OSError:
            with tempfile.TemporaryDirectory() as slower:
                yield Path(slower)
