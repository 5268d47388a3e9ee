# SPDX-License-Identifier: Apache-2.0
"""Units that a bundle has checked: those that are nowhere, and those that are down."""

import pytest

from ashore.acts.change import preview
from ashore.errors import InputError
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine

ONE, TWO, THREE, OTHER = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3", "reg.example/other:1"
UNIT = "[Unit]\nDescription={}\n[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
SERVICE = "etc/systemd/system/app.service"
CHECKED = '[units]\nenable = []\n[[health]]\nunit = "{}"\ntcp = "127.0.0.1:1"\nwithin = "2s"\n'


@pytest.fixture
def systemd() -> FakeSystemd:
    return FakeSystemd()


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    systemd.add("app.service")
    return host


@pytest.mark.parametrize("state", ["inactive", "failed"])
@pytest.mark.parametrize("unit", ["app.service", "of-the-host.service"])
def test_a_check_that_is_not_made_since_its_unit_is_down_is_named(
    live: Machine, systemd: FakeSystemd, unit: str, state: str
) -> None:
    systemd.add(unit, active=state)
    live.images.add(ONE, {SERVICE: UNIT.format(1), "etc/unrelated": "1"}, CHECKED.format(unit))
    said = f"{unit} is {state}, and nothing here starts it: its [[health]] is not checked"
    assert said in preview.plan_install(live.tools(), [live.ask(ONE)])[0].notes
    assert said in live.install(ONE).plan.notes
    live.images.add(OTHER, {"etc/other": "x"})
    assert said not in live.install(OTHER).plan.notes, "this is not about it"


def test_a_check_that_is_made_is_not_named(live: Machine, systemd: FakeSystemd) -> None:
    health = '[[health]]\nunit = "app.service"\n'
    for reference in (ONE, TWO):
        live.images.add(reference, {SERVICE: UNIT.format(reference)}, health)
        assert "[[health]]" not in str(live.install(reference).plan.notes), "it starts, or runs"


def test_a_unit_to_check_that_is_nowhere_is_refused(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {SERVICE: UNIT.format(1)}, CHECKED.format("ngnix.service"))
    before = live.tree()
    with pytest.raises(InputError, match="the bundle app cannot be used") as raised:
        live.install(ONE)
    where = "bundle.toml: [[health]] unit"
    assert [(i.where, i.message) for i in raised.value.issues] == [
        (where, "ngnix.service is neither in the bundle nor on the host")
    ]
    assert live.tree() == before
    live.systemd = None
    live.install(ONE)  # nobody knows what an offline root has when it runs


def test_a_unit_to_check_may_be_another_bundles_an_alias_or_an_instance(live: Machine, systemd: FakeSystemd) -> None:
    alias = UNIT.format(1) + "Alias=web.service\n"
    live.images.add(ONE, {SERVICE: alias, "etc/systemd/system/w@.service": UNIT.format(2)}, "")
    live.images.add(OTHER, {"etc/other": "x"}, CHECKED.format("web.service"))
    live.images.add(
        THREE, {SERVICE: alias, "etc/systemd/system/w@.service": UNIT.format(2)}, CHECKED.format("w@a.service")
    )
    live.install(ONE, OTHER)
    live.install(THREE)
    live.remove("app")  # its own unit goes: what is installed already is not refused for that
    assert [bundle.name for bundle in live.tools().history.current().bundles] == ["other"]


STEP = '[[step]]\nname = "packages"\nphase = "{}"\ncommand = ["true"]\nreason = "nginx"\n'


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("etc/containers/systemd/web.container", ""),
        ("usr/lib/systemd/system-generators/web", ""),
        ("etc/systemd/zram-generator.conf", ""),
        ("usr/lib/systemd/zram-generator.conf.d/web.conf", ""),
        ("etc/veritytab", ""),
        ("etc/x", STEP.format("before")),
        ("etc/x", STEP.format("after")),
    ],
)
def test_a_unit_to_check_that_the_change_may_make_otherwise_is_not_refused(live: Machine, path: str, step: str) -> None:
    live.images.add(ONE, {path: "x"}, CHECKED.format("web.service") + step)
    plan, _ = preview.plan_install(live.tools(), [live.ask(ONE)])
    assert "web.service is inactive, and nothing here starts it: its [[health]] is not checked" in plan.notes


def test_a_unit_to_check_may_lie_behind_a_symlink_of_the_host(live: Machine, systemd: FakeSystemd) -> None:
    """As on hosts of which only /var can be written: its folder has another path there."""
    (live.root / "usr/local").symlink_to("../var/usrlocal")
    unit = "usr/local/lib/systemd/system/web.service"
    live.images.add(ONE, {unit: UNIT.format(1)}, CHECKED.format("web.service"))
    plan, _ = preview.plan_install(live.tools(), [live.ask(ONE)])
    assert "var/usrlocal/lib/systemd/system/web.service" in {step.path for step in plan.steps}
