# SPDX-License-Identifier: Apache-2.0
"""A unit that an administrator masked does not start, and is enabled when unmasked. A bundle may mask one, too."""

from pathlib import Path

import pytest

from ashore.errors import UnitsFailedError
from tests.fakes.bundles import Link
from tests.fakes.systemd import Behaviour, FakeSystemd
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


class Reading(FakeSystemd):
    """Masks are known from the unit files, at each daemon-reload."""

    root: Path

    def daemon_reload(self) -> None:
        super().daemon_reload()
        for name, unit in self.units.items():
            path = self.root / "etc/systemd/system" / name
            masked = (path.is_symlink() and str(path.readlink()) == "/dev/null") or (
                path.exists() and path.stat().st_size == 0
            )
            unit.load = "masked" if masked else "loaded"


@pytest.fixture
def reading(tmp_path: Path) -> tuple[Machine, Reading]:
    units = Reading()
    units.add("foo.service", running=True)
    machine = Machine(tmp_path, systemd=units)
    units.root = machine.root
    machine.write("usr/lib/systemd/system/foo.service", UNIT)
    return machine, units


@pytest.mark.parametrize("mask", [Link("/dev/null"), Link("../../../dev/null"), ""])
def test_a_unit_that_a_bundle_masks_is_stopped(reading: tuple[Machine, Reading], mask: Link | str) -> None:
    machine, units = reading
    machine.images.add("reg.example/app:1", {"etc/systemd/system/foo.service": mask})
    outcome = machine.install("reg.example/app:1")
    assert [a.reason for a in outcome.plan.stops] == ["etc/systemd/system/foo.service masks it"]
    assert units.log == ["stop foo.service", "daemon-reload"]
    units.log.clear()
    outcome = machine.remove("app")
    assert units.log == ["daemon-reload"]
    note = "foo.service is not masked any more; nothing enables it, and it is not started"
    assert outcome.plan.notes == (note,)


@pytest.mark.parametrize("folder", ["etc/systemd/system", "usr/lib/systemd/system"])
def test_a_unit_of_the_host_that_is_enabled_comes_back_when_the_mask_goes(
    reading: tuple[Machine, Reading], folder: str
) -> None:
    machine, units = reading
    (machine.root / folder / "multi-user.target.wants").mkdir()
    (machine.root / folder / "multi-user.target.wants/foo.service").symlink_to("/usr/lib/systemd/system/foo.service")
    machine.images.add("reg.example/app:1", {"etc/systemd/system/foo.service": Link("/dev/null"), "etc/x": "x"})
    machine.images.add("reg.example/app:2", {"etc/x": "x"})
    for removes in (True, False):
        machine.install("reg.example/app:1")
        assert units.units["foo.service"].active == "inactive"
        units.log.clear()
        if removes:
            machine.remove("app")
        else:
            machine.install("reg.example/app:2")
        assert units.log == ["daemon-reload", "start foo.service"]


def test_a_unit_of_the_bundle_comes_back_with_the_version_that_does_not_mask_it(
    reading: tuple[Machine, Reading],
) -> None:
    machine, units = reading
    units.add("app.service")
    enabled = UNIT + "[Install]\nWantedBy=multi-user.target\n"
    tree = {"usr/lib/systemd/system/app.service": enabled}
    machine.images.add("reg.example/app:1", tree)
    machine.images.add("reg.example/app:2", {**tree, "etc/systemd/system/app.service": Link("/dev/null")})
    machine.install("reg.example/app:1")
    machine.install("reg.example/app:2")
    assert units.units["app.service"].active == "inactive"
    machine.roll_back()
    assert units.units["app.service"].active == "active"


def test_a_unit_that_a_bundle_masks_runs_again_when_the_rest_of_it_fails(reading: tuple[Machine, Reading]) -> None:
    machine, units = reading
    units.add("app.service", Behaviour.FAILS)
    machine.images.add("reg.example/app:1", {**TREE, "etc/systemd/system/foo.service": Link("/dev/null")})
    with pytest.raises(UnitsFailedError):
        machine.install("reg.example/app:1")
    assert units.units["foo.service"].active == "active"


def test_a_mask_that_an_own_file_hides_stops_nothing(reading: tuple[Machine, Reading]) -> None:
    machine, units = reading
    machine.write("etc/systemd/system/foo.service", UNIT)
    machine.images.add("reg.example/app:1", {"usr/local/lib/systemd/system/foo.service": Link("/dev/null")})
    assert machine.install("reg.example/app:1").plan.stops == ()
    assert units.units["foo.service"].active == "active"


def test_a_unit_that_replaces_the_mask_of_the_version_before_is_started(reading: tuple[Machine, Reading]) -> None:
    machine, units = reading
    machine.images.add("reg.example/app:1", {"etc/systemd/system/foo.service": Link("/dev/null")})
    machine.images.add("reg.example/app:2", {"etc/systemd/system/foo.service": UNIT})
    machine.install("reg.example/app:1")
    units.log.clear()
    machine.install("reg.example/app:2")
    assert units.log == ["daemon-reload", "start foo.service"]
