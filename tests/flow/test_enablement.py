# SPDX-License-Identifier: Apache-2.0
"""The symlinks that enable units: whose they are, what an administrator made of them, and what goes with them."""

import itertools
import os

import pytest

from ashore.acts.author.inspect import inspect
from ashore.errors import ConflictError, InputError
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.provision.hostunits import RECOVER_LINK
from ashore.rules.units.enablement import template_of
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_units import ONE, SERVICE, THREE, TWO, UNIT, WANTS
from tests.flow.test_units import systemd as systemd

ORDER = ["etc", "usr/local/lib", "usr/lib"]


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    host.images.add(ONE, {SERVICE: UNIT.format(1)})
    systemd.add("app.service")
    return host


def links(machine: Machine) -> list[str]:
    """All symlinks in the administrator's folder, but for ashore's own."""
    folder, own = machine.root / "etc/systemd/system", machine.root / RECOVER_LINK
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() and path != own)


@pytest.mark.parametrize("keeps", ["multi-user.target graphical.target", "graphical.target"])
def test_a_disabled_unit_stays_so_where_a_version_or_a_rollback_has_other_links(
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


SITES = ("reg.example/one:1", "reg.example/two:1")
NGINX = "multi-user.target.wants/nginx.service"


@pytest.fixture
def sites(live: Machine, systemd: FakeSystemd) -> Machine:
    """Two bundles that enable one unit of the host, and a version of each that does not."""
    live.write("usr/lib/systemd/system/nginx.service", UNIT.format("the host's") + "Alias=web.service\n")
    systemd.add("nginx.service")
    for reference in SITES:
        name = reference.partition("/")[2].partition(":")[0]
        live.images.add(reference, {f"etc/{name}": name}, f'name = "{name}"\n[units]\nenable = ["nginx.service"]\n')
        live.images.add(reference[:-1] + "2", {f"etc/{name}": name}, f'name = "{name}"\n')
    return live


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("goes", ["remove", "upgrade"])
@pytest.mark.parametrize("together", [True, False])
def test_two_bundles_may_enable_one_unit_and_it_stays_enabled_for_the_other_one(
    sites: Machine, systemd: FakeSystemd, first: int, goes: str, together: bool
) -> None:
    before = sites.tree()
    for names in [SITES] if together else [[SITES[first]], [SITES[1 - first]]]:
        sites.install(*names)
    both = [NGINX, "web.service"]
    assert links(sites) == both
    assert not sites.upgrade().changed
    name = SITES[first].partition("/")[2].partition(":")[0]
    if goes == "remove":
        sites.remove(name)
    else:
        sites.install(f"reg.example/{name}:2")
    assert links(sites) == both and systemd.units["nginx.service"].active == "active"
    other = {"one": "two", "two": "one"}[name]
    record = sites.tools().history.current().files["etc/systemd/system/" + NGINX]
    assert (record.bundle, record.others) == (other, {})
    sites.roll_back()
    record = sites.tools().history.current().files["etc/systemd/system/" + NGINX]
    assert {record.bundle, *record.others} == {"one", "two"}
    sites.remove(other)
    assert links(sites) == both
    sites.remove(name)
    assert sites.tree() == before


def test_what_an_administrator_made_of_a_link_of_two_bundles_stays(sites: Machine) -> None:
    sites.install(*SITES)
    for link in links(sites):
        (sites.root / "etc/systemd/system" / link).unlink()
    sites.images.add(SITES[0], {"etc/one": "more"}, 'name = "one"\n[units]\nenable = ["nginx.service"]\n')
    sites.install(SITES[0])
    assert links(sites) == []
    sites.remove("one")
    assert links(sites) == []
    sites.roll_back()
    assert links(sites) == []
    sites.roll_back(bundle="one")
    assert links(sites) == []
    sites.remove("two")
    sites.remove("one")
    assert links(sites) == []


def test_two_bundles_that_link_one_name_to_unlike_units_are_still_a_conflict(host: Machine) -> None:
    for name, folder in (("one", "etc/systemd/system"), ("two", "usr/lib/systemd/system")):
        host.images.add(f"reg.example/{name}:1", {f"{folder}/app.service": UNIT.format(1)})
    host.install(SITES[0])
    with pytest.raises(ConflictError, match="bundle one has it"):
        host.install(SITES[1])


@pytest.mark.parametrize("goes", ["remove", "upgrade", "roll back"])
def test_a_unit_of_the_host_that_only_a_bundle_enabled_and_started_stops_with_that(
    sites: Machine, systemd: FakeSystemd, goes: str
) -> None:
    if goes == "roll back":
        sites.install("reg.example/one:2")
    sites.install(SITES[0])
    assert systemd.units["nginx.service"].active == "active"
    systemd.units["nginx.service"].wanted_by = ("multi-user.target",)
    sites.images.add("reg.example/other:1", {"etc/other": "x"})
    systemd.log.clear()
    sites.install("reg.example/other:1")  # a change of another bundle keeps what is known of it
    assert systemd.log == []
    outcome = {
        "remove": lambda: sites.remove("one"),
        "upgrade": lambda: sites.install("reg.example/one:2"),
        "roll back": lambda: sites.roll_back(bundle="one"),
    }[goes]()
    assert systemd.log == ["stop nginx.service", "daemon-reload"]
    assert [stop.reason for stop in outcome.plan.stops] == ["no bundle enables it any more"]
    assert outcome.generation.started == ()


def test_it_stops_only_when_the_last_of_two_bundles_goes(sites: Machine, systemd: FakeSystemd) -> None:
    for site in SITES:
        sites.install(site)
    for name, active in (("one", "active"), ("two", "inactive")):
        sites.remove(name)
        assert systemd.units["nginx.service"].active == active


@pytest.mark.parametrize("why", ["it ran", "it was enabled", "a unit wants it", "a unit needs it", "the host links it"])
def test_a_unit_that_the_host_wants_as_well_runs_on_and_that_is_said(
    sites: Machine, systemd: FakeSystemd, why: str
) -> None:
    unit = systemd.units["nginx.service"]
    wants = sites.root / "etc/systemd/system" / NGINX
    if why == "it ran":
        systemd.add("nginx.service", running=True)
    if why == "it was enabled":
        wants.parent.mkdir()
        wants.symlink_to("/usr/lib/systemd/system/nginx.service")
    sites.install(SITES[0])
    if why == "a unit wants it":
        unit.wanted_by = ("multi-user.target", "mine.service")
    if why == "a unit needs it":
        unit.needed_by = ("mine.service",)
    if why == "the host links it":
        other = sites.root / "usr/lib/systemd/system/graphical.target.wants/nginx.service"
        other.parent.mkdir()
        other.symlink_to("../nginx.service")
    outcome = sites.remove("one")
    assert systemd.units["nginx.service"].active == "active"
    said = "no bundle enables nginx.service any more; it is the host's, and runs on"
    assert (said in outcome.plan.notes) is (why != "it was enabled"), "the host enables it as before"


def test_what_something_pulled_in_already_when_a_bundle_started_it_runs_on(
    sites: Machine, systemd: FakeSystemd
) -> None:
    systemd.units["nginx.service"].wanted_by = ("multi-user.target",)
    assert sites.install(SITES[0]).generation.started == ()
    sites.remove("one")
    assert systemd.units["nginx.service"].active == "active"


@pytest.mark.parametrize(
    "unit",
    ["ssh.service", "sshd.socket", "getty@tty1.service", "NetworkManager.service", "wg-quick@wg0.service"],
)
def test_nobody_is_locked_out_by_what_no_bundle_enables_any_more(
    sites: Machine, systemd: FakeSystemd, unit: str
) -> None:
    sites.write("usr/lib/systemd/system/" + (template_of(unit) or unit), UNIT.format("the host's"))
    systemd.add(unit)
    sites.images.add(ONE, {"etc/x": "x"}, f'[units]\nenable = ["{unit}"]\n')
    sites.install(ONE)
    outcome = sites.remove("app")
    assert systemd.units[unit].active == "active"
    assert any("runs on" in note for note in outcome.plan.notes)


EXTRA = '[units]\nenable = ["app.service", "w@a.service"]\n'
TEMPLATE = "[Service]\nExecStart=/opt/w %i\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture
def extra(host: Machine) -> Machine:
    """A bundle that has units and enables none, and one that enables them."""
    base = {"usr/lib/systemd/system/app.service": UNIT.format(1), "usr/lib/systemd/system/w@.service": TEMPLATE}
    host.images.add("reg.example/base:1", base, "[units]\nenable = []\n")
    host.images.add("reg.example/base:2", {"etc/base": "2"})
    host.images.add("reg.example/extra:1", {"etc/extra": "1"}, EXTRA)
    return host


@pytest.mark.parametrize("names", [("base", "extra"), ("extra", "base")])
@pytest.mark.parametrize("together", [True, False])
def test_a_bundle_may_enable_a_unit_of_another_one_that_comes_with_it(
    extra: Machine, names: tuple[str, str], together: bool
) -> None:
    before = extra.tree()
    images = [f"reg.example/{name}:1" for name in names]
    for ask in [images] if together else [[image] for image in sorted(images)]:
        extra.install(*ask)
    assert links(extra) == ["multi-user.target.wants/app.service", "multi-user.target.wants/w@a.service"]
    assert os.readlink(extra.root / WANTS) == "/usr/lib/systemd/system/app.service"
    bundles = {bundle.name: bundle.enabled for bundle in extra.tools().history.current().bundles}
    assert bundles == {"base": (), "extra": ("app.service", "w@a.service")}
    assert not extra.upgrade().changed
    extra.remove(*names)
    assert extra.tree() == before


@pytest.mark.parametrize("goes", ["remove", "upgrade"])
def test_a_unit_that_stays_enabled_when_the_bundle_that_has_it_goes_is_named(extra: Machine, goes: str) -> None:
    extra.install("reg.example/base:1", "reg.example/extra:1")
    outcome = extra.remove("base") if goes == "remove" else extra.install("reg.example/base:2")
    assert outcome.plan.notes == tuple(
        f"extra enables {unit}, which has no unit file any more: it cannot start"
        for unit in ("app.service", "w@a.service")
    )
    extra.roll_back()
    extra.write("usr/local/lib/systemd/system/app.service", UNIT.format("the host's"))
    outcome = extra.remove("base")
    assert len(outcome.plan.notes) == 1, "the host has one of that name as well"


def test_a_unit_that_goes_with_the_same_change_cannot_be_enabled(extra: Machine) -> None:
    extra.install("reg.example/base:1")
    before = extra.tree()
    with pytest.raises(InputError, match=r"app\.service is neither in the bundle nor on the host"):
        extra.install("reg.example/base:2", "reg.example/extra:1")
    assert extra.tree() == before


def test_of_two_unit_files_of_other_bundles_and_the_host_the_one_that_systemd_reads_counts(extra: Machine) -> None:
    extra.write(
        "usr/local/lib/systemd/system/app.service", UNIT.format("the host's").replace("multi-user", "graphical")
    )
    extra.install("reg.example/base:1", "reg.example/extra:1")
    assert "graphical.target.wants/app.service" in links(extra)


@pytest.mark.parametrize(("first", "hidden"), list(itertools.permutations(ORDER, 2)))
def test_of_unit_files_of_one_name_the_one_that_systemd_reads_says_how_it_is_enabled(
    host: Machine, first: str, hidden: str
) -> None:
    read = ORDER.index(first) < ORDER.index(hidden)
    tree = {f"{hidden}/systemd/system/app.service": "[Service]\nExecStart=/opt/bin/app\n"}
    tree[f"{first}/systemd/system/app.service"] = UNIT.format(1)
    host.images.add(ONE, tree)
    assert [unit.enable for unit in inspect(host.tools(), host.ask(ONE).reference).units] == [read]
    host.install(ONE)
    assert links(host) == (["multi-user.target.wants/app.service"] if read else [])
    host.remove("app")
    for path, text in tree.items():
        host.write(path, text)
    host.images.add(TWO, {"etc/x": "x"}, '[units]\nenable = ["app.service"]\n')
    host.install(TWO)
    assert links(host) == (["multi-user.target.wants/app.service"] if read else [])
