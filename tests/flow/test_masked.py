# SPDX-License-Identifier: Apache-2.0
"""A unit that an administrator masked does not start, and is enabled when it is unmasked."""

from pathlib import Path

from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

UNIT = "[Service]\nExecStart=/opt/app\n[Install]\nWantedBy=multi-user.target\n"
LINK = "etc/systemd/system/multi-user.target.wants/app.service"
MASK = "etc/systemd/system/app.service"
TREE = {"usr/lib/systemd/system/app.service": UNIT}


def test_a_masked_unit_keeps_its_enablement(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.images.add("reg.example/app:1", {**TREE, "etc/app": "1"})
    machine.images.add("reg.example/app:2", {**TREE, "etc/app": "2"})
    machine.install("reg.example/app:1")
    (machine.root / MASK).symlink_to("/dev/null")
    outcome = machine.install("reg.example/app:2")
    assert [step.path for step in outcome.plan.steps] == ["etc/app"]
    assert outcome.plan.notes == ("app.service is masked on this host and stays so",)
    assert (machine.root / LINK).is_symlink()
    assert (machine.root / MASK).is_symlink()


def test_a_unit_that_was_masked_before_is_enabled_and_not_started(tmp_path: Path) -> None:
    units = FakeSystemd()
    units.add("app.service", load="masked")
    machine = Machine(tmp_path, systemd=units)
    machine.images.add("reg.example/app:1", TREE)
    (machine.root / MASK).symlink_to("/dev/null")
    outcome = machine.install("reg.example/app:1")
    assert outcome.plan.actions == ()
    assert sorted(outcome.plan.notes) == [
        "app.service is masked on this host and stays so: it is not started",
        "systemd-analyze is not on this host: /usr/lib/systemd/system/app.service not verified",
    ]
    assert (machine.root / LINK).is_symlink()
