# SPDX-License-Identifier: Apache-2.0
"""Paths that change under ashore's hands lead nowhere outside the root."""

import os
from pathlib import Path

import pytest

from ashore.errors import AshoreError
from tests.flow.machine import Machine
from tests.hostile.images.host import look, quick_folder
from tests.hostile.paths.race import control, raced

LEADS = ("OUTSIDE", "../../outside", "/etc")


@pytest.mark.parametrize("leads", LEADS)
def test_a_parent_that_is_swapped_for_a_symlink_leads_nowhere(leads: str) -> None:
    with quick_folder() as folder:
        (folder / "host/etc").mkdir(parents=True)
        found = raced(folder, leads, 2.0)
    assert found.problems == []
    assert found.tried > 10
    assert found.swaps > 100


def test_a_program_that_trusts_paths_does_write_outside() -> None:
    with quick_folder() as folder:
        assert control(folder, 20.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a symlink away")
def test_a_symlink_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.images.add("reg.example/app:1", {"srv/app/data/x": "x\n"})
    (machine.root / "srv/app").mkdir(parents=True)
    (machine.root / "srv/app/data").symlink_to("/etc")
    os.chown(machine.root / "srv/app/data", 1234, 1234, follow_symlinks=False)
    before = look(machine.root)
    with pytest.raises(AshoreError, match="neither root nor us"):
        machine.install("reg.example/app:1")
    assert look(machine.root) == before
