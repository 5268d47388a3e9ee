# SPDX-License-Identifier: Apache-2.0
"""The symlinks that enable units: whose they are, what an administrator made of them, and what goes with them."""

import os

import pytest

from ashore.errors import ConflictError
from ashore.nouns.units import UnitAction, UnitVerb
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

ONE, TWO, THREE = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3"
UNIT = "[Unit]\nDescription={}\n[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
SERVICE = "etc/systemd/system/app.service"
WANTS = "etc/systemd/system/multi-user.target.wants/app.service"


@pytest.fixture
def systemd() -> FakeSystemd:
    return FakeSystemd()


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    host.images.add(ONE, {SERVICE: UNIT.format(1)})
    systemd.add("app.service")
    return host


def links(machine: Machine) -> list[str]:
    """All symlinks in the administrator's folder."""
    folder = machine.root / "etc/systemd/system"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink())


@pytest.mark.parametrize("keeps", ["multi-user.target graphical.target", "graphical.target"])
def test_a_disabled_unit_stays_so_where_a_version_or_a_rollback_has_otherlinks(
    live: Machine, systemd: FakeSystemd, keeps: str
) -> None:
    wanted_by = UNIT.format(2).replace("multi-user.target", keeps) + "Alias=ap.service\n"
    live.images.add(TWO, {SERVICE: wanted_by})
    live.install(ONE)
    (live.root / WANTS).unlink()
    systemd.run([UnitAction(verb=UnitVerb.STOP, unit="app.service", reason="by hand")], 1)
    systemd.log.clear()
    for outcome in (live.install(TWO), live.roll_back(), live.install(TWO)):
        assert links(live) == []
        assert "app.service was disabled by an administrator and stays so" in outcome.plan.notes
    assert not [line for line in systemd.log if "start" in line]
    for link in ("ap.service", *(f"{target}.wants/app.service" for target in keeps.split())):  # systemctl enable
        path = live.root / "etc/systemd/system" / link
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(f"/{SERVICE}")
    assert live.install(TWO).plan.kept == ()
    live.images.add(THREE, {SERVICE: wanted_by + "WantedBy=more.target\n"})
    live.install(THREE)
    assert "more.target.wants/app.service" in links(live)
    assert live.remove("app").generation.files == {}
    assert links(live) == []


def test_a_unit_of_which_somebody_took_one_link_of_two_away_is_not_disabled(
    live: Machine, systemd: FakeSystemd
) -> None:
    wanted_by = UNIT.replace("multi-user.target", "multi-user.target graphical.target")
    live.images.add(ONE, {SERVICE: wanted_by.format(1)})
    live.images.add(TWO, {SERVICE: wanted_by.format(2) + "WantedBy=more.target\n"})
    live.install(ONE)
    (live.root / WANTS).unlink()
    outcome = live.install(TWO)
    assert links(live) == ["graphical.target.wants/app.service", "more.target.wants/app.service"]
    assert not any("disabled" in note for note in outcome.plan.notes)


def test_an_offline_root_says_as_well_that_a_unit_stays_disabled(host: Machine) -> None:
    host.images.add(ONE, {SERVICE: UNIT.format(1)})
    host.images.add(TWO, {SERVICE: UNIT.format(2).replace("multi-user", "graphical")})
    host.install(ONE)
    (host.root / WANTS).unlink()
    outcome = host.install(TWO)
    assert outcome.plan.notes == ("app.service was disabled by an administrator and stays so",)
    assert links(host) == []


@pytest.mark.parametrize("there", ["a unit file", "a mask", "a link to another unit"])
def test_an_alias_takes_nothing_over_that_is_not_the_same_unit(host: Machine, there: str) -> None:
    host.images.add(ONE, {SERVICE: UNIT.format(1) + "Alias=web.service\n"})
    web = host.root / "etc/systemd/system/web.service"
    if there == "a unit file":
        host.write("etc/systemd/system/web.service", "# the administrator's\n[Service]\nExecStart=/opt/mine\n")
    else:
        web.symlink_to("/dev/null" if there == "a mask" else "/usr/lib/systemd/system/httpd.service")
    before = host.tree()
    with pytest.raises(ConflictError) as raised:
        host.install(ONE)
    (issue,) = raised.value.issues
    assert raised.value.code == 6 and issue.where == "/etc/systemd/system/web.service" and "--adopt" in issue.remedy
    assert host.tree() == before
    host.install(ONE, adopt_all=True)
    assert os.readlink(web) == f"/{SERVICE}"
    host.remove("app")
    assert host.tree() == before


def test_an_alias_of_the_same_unit_that_the_host_had_is_given_back(host: Machine) -> None:
    host.images.add(ONE, {SERVICE: UNIT.format(1) + "Alias=web.service\n"})
    web = host.root / "etc/systemd/system/web.service"
    web.symlink_to("/usr/lib/systemd/system/app.service")
    before = host.tree()
    host.install(ONE)
    assert os.readlink(web) == f"/{SERVICE}"
    host.remove("app")
    assert host.tree() == before
