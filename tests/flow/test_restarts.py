# SPDX-License-Identifier: Apache-2.0
"""What a change restarts, and what of that is nobody's: shown in the plan with its reason, and back after a failure."""

import os
import shutil
from collections.abc import Callable

import pytest

from ashore.acts.ask import look
from ashore.acts.change import preview
from ashore.acts.transaction.unitsback import restore
from ashore.errors import UnitsFailedError
from ashore.nouns.generation import Verb
from ashore.nouns.journal import Begun, Journal, Staged
from ashore.nouns.plan import Plan
from ashore.nouns.units import UnitAction, UnitVerb
from tests.fakes.bundles import Folder, Link
from tests.fakes.systemd import Behaviour, FakeSystemd, FakeUnit
from tests.flow.machine import Machine

ONE, TWO = "reg.example/three:1", "reg.example/three:2"
UNIT = "[Service]\nExecStart=/opt/bin/{0} --config=/etc/{0}.conf\n[Install]\nWantedBy=multi-user.target\n"
NAMES = ("a", "b", "c")


def tree(**configured: str) -> dict[str, str]:
    units = {f"etc/systemd/system/{name}.service": UNIT.format(name) for name in NAMES}
    programs = {f"opt/bin/{name}": f"program {name}" for name in NAMES}
    return units | programs | {f"etc/{name}.conf": configured.get(name, "1") for name in NAMES}


@pytest.fixture
def systemd() -> FakeSystemd:
    found = FakeSystemd()
    for name in NAMES:
        found.add(f"{name}.service", main_pid=1)
    return found


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    host.images.add(ONE, tree())
    host.images.add(TWO, tree(b="2"))
    host.install(ONE)
    systemd.log.clear()
    return host


def planned(live: Machine, name: str) -> Plan:
    return preview.plan_install(live.tools(), [live.ask(name)])[0]


def shown(plan: Plan) -> list[str]:
    return [f"{action.verb} {action.unit}: {action.reason}" for action in (*plan.stops, *plan.actions)]


def test_one_file_of_one_of_three_services_changed_is_one_restart(live: Machine, systemd: FakeSystemd) -> None:
    assert shown(planned(live, TWO)) == ["restart b.service: etc/b.conf, named by ExecStart=, changed"]
    assert systemd.log == [], "a plan restarts nothing"
    live.install(TWO)
    assert systemd.log == ["restart b.service"]


def test_a_unit_is_read_as_it_was_edited_on_the_host(live: Machine, systemd: FakeSystemd) -> None:
    """What PID 1 reads is the file that lies there, not the bundle's version of it."""
    unit = "etc/systemd/system/a.service"
    live.write(unit, UNIT.format("a").replace("[Install]", "EnvironmentFile=/etc/b.conf\n[Install]"))
    assert shown(planned(live, TWO)) == [
        "restart a.service: etc/b.conf, named by EnvironmentFile=, changed",
        "restart b.service: etc/b.conf, named by ExecStart=, changed",
    ]
    live.write(unit, "[Service]\nExecStart=/opt/bin/a\n[Install]\nWantedBy=multi-user.target\n")
    live.images.add(TWO, tree(a="2"))
    assert shown(planned(live, TWO)) == [], "it names the file no more"


@pytest.mark.parametrize(
    ("named", "links", "content"),
    [
        ("etc/app.env", {"etc/app.env": Link("/opt/app/app.env")}, "opt/app/app.env"),
        ("etc/app.env", {"etc/app.env": Link("../opt/app/app.env")}, "opt/app/app.env"),
        ("opt/current/app.env", {"opt/current": Link("v1")}, "opt/v1/app.env"),
        ("etc/app.env", {"etc/app.env": Link("/opt/current/env"), "opt/current": Link("v1")}, "opt/v1/env"),
        ("opt/current/app.env", {"opt/current": Link("/opt/current")}, ""),
    ],
    ids=["a file", "relative", "a folder", "two", "a loop"],
)
def test_a_unit_restarts_when_what_it_names_by_a_link_of_its_bundle_changes(
    host: Machine, systemd: FakeSystemd, named: str, links: dict[str, Link], content: str
) -> None:
    host.systemd = systemd
    unit = UNIT.format("a").replace("[Install]", f"EnvironmentFile=-/{named}\n[Install]")
    for name in (ONE, TWO):
        changing = {content or "etc/other": name}
        host.images.add(name, {"etc/systemd/system/a.service": unit, "opt/bin/a": "a", **links, **changing})
    host.install(ONE)
    expected = [f"restart a.service: {content}, named by EnvironmentFile=, changed"] if content else []
    assert shown(planned(host, TWO)) == expected


def test_a_link_that_leads_elsewhere_is_a_reason_by_itself(host: Machine, systemd: FakeSystemd) -> None:
    host.systemd = systemd
    unit = UNIT.format("a").replace("/etc/a.conf", "/opt/current/a.conf")
    both = {"opt/v1/a.conf": "1", "opt/v2/a.conf": "2", "etc/systemd/system/a.service": unit, "opt/bin/a": "a"}
    host.images.add(ONE, {**both, "opt/current": Link("v1")})
    host.images.add(TWO, {**both, "opt/current": Link("v2")})
    host.install(ONE)
    assert shown(planned(host, TWO)) == ["restart a.service: opt/current, named by ExecStart=, changed"]


@pytest.mark.parametrize("declared", [False, True])
def test_the_mode_of_a_folder_concerns_only_units_that_the_bundle_names_for_it(
    host: Machine, systemd: FakeSystemd, declared: bool
) -> None:
    host.systemd = systemd
    toml = '[[files]]\npath = "/etc/app"\nrestart = ["b.service"]\n' if declared else ""
    named = {"etc/app/a.conf": "1", "etc/systemd/system/a.service": UNIT.format("a").replace("/etc/", "/etc/app/")}
    for name, mode in ((ONE, 0o755), (TWO, 0o750)):
        host.images.add(name, {**tree(), **named, "etc/app": Folder(mode)}, toml)
    host.install(ONE)
    assert [step.path for step in planned(host, TWO).steps] == ["etc/app"]
    assert shown(planned(host, TWO)) == (["restart b.service: etc/app changed"] if declared else [])


def test_nothing_changed_restarts_nothing_and_looks_at_no_process(live: Machine, systemd: FakeSystemd) -> None:
    live.processes.looks = 0
    live.install(ONE)
    assert planned(live, ONE).empty
    assert (systemd.log, live.processes.looks) == ([], 0)


def test_a_process_that_has_the_old_library_in_memory_is_found_by_device_and_inode(
    live: Machine, systemd: FakeSystemd
) -> None:
    library = "usr/local/lib/libx.so.1"
    live.images.add(ONE, {**tree(), library: "old"})
    live.images.add(TWO, {**tree(), library: "new"})
    live.install(ONE)
    systemd.log.clear()
    systemd.add("host.service", main_pid=9, running=True)
    status = os.stat(live.root / library)
    for unit in ("host.service", "c.service", "session-1.scope"):
        live.processes.map(unit, (status.st_dev, status.st_ino))
    plan = live.install(TWO).plan
    assert shown(plan) == [
        f"restart {unit}: {library}, which it has in memory, changed" for unit in ("c.service", "host.service")
    ]
    assert plan.notes == (f"session-1.scope runs on with the old {library}",)
    assert systemd.log == ["restart c.service", "restart host.service"]


def test_configuration_is_mapped_by_nobody_so_that_no_process_is_looked_at(live: Machine) -> None:
    live.processes.looks = 0
    live.install(TWO)
    assert live.processes.looks == 0


def test_a_file_of_pid_1_is_not_restarted_but_said_to_need_a_boot(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {**tree(), "usr/lib/libc.so.6": "old"})
    live.images.add(TWO, {**tree(), "usr/lib/libc.so.6": "new"})
    live.install(ONE)
    systemd.log.clear()
    status = os.stat(live.root / "usr/lib/libc.so.6")
    live.processes.map("init.scope", (status.st_dev, status.st_ino))
    why = ("usr/lib/libc.so.6, which PID 1 runs with, changed",)
    assert preview.plan_install(live.tools(), [live.ask(TWO)])[0].reboot == why
    assert not live.exists("run/reboot-required")
    assert live.install(TWO).plan.reboot == why
    assert systemd.log == []
    found = look.status(live.tools())
    assert found.reboot == why and found.to_look_at, "it is remembered until it was done"
    assert live.read("run/reboot-required") == "*** System restart required ***\n"
    live.roll_back()
    assert live.read("run/reboot-required").count("\n") == 1
    live.empty_run()
    assert look.status(live.tools()).reboot == ()


def test_a_unit_of_a_bundle_that_failed_is_to_be_looked_at_though_nothing_enables_it(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.images.add(ONE, {"etc/systemd/system/job.service": "[Service]\nExecStart=/x\n"})
    live.install(ONE)
    systemd.add("job.service")
    assert not look.status(live.tools()).to_look_at
    systemd.units["job.service"].active = "failed"
    found = look.status(live.tools())
    assert found.to_look_at and set(found.units) == {"job.service"}


def test_what_cannot_be_noted_is_said_and_undoes_nothing(live: Machine) -> None:
    live.images.add(ONE, {"boot/vmlinuz-1": "old"})
    live.images.add(TWO, {"boot/vmlinuz-1": "new"})
    live.install(ONE)
    shutil.rmtree(live.root / "run", ignore_errors=True)
    (live.root / "run/reboot-required").mkdir(parents=True)
    assert live.install(TWO).plan.reboot and live.read("boot/vmlinuz-1") == "new"


def test_a_unit_of_the_host_restarts_when_a_bundle_brings_a_file_that_it_names(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.write("usr/lib/systemd/system/ssh.service", "[Service]\nEnvironmentFile=-/etc/default/ssh\nExecStart=/x\n")
    systemd.add("ssh.service", main_pid=9, running=True)
    live.images.add(TWO, {**tree(), "etc/default/ssh": "SSHD_OPTS=-4\n"})
    assert shown(planned(live, TWO)) == ["restart ssh.service: etc/default/ssh, named by EnvironmentFile=, is new"]
    live.install(TWO, confirm=0)
    assert systemd.log == ["restart ssh.service"]


@pytest.fixture
def chained(live: Machine, systemd: FakeSystemd) -> FakeSystemd:
    """Two units of the host hang on one of the bundle: one needs it, one is part of it."""
    systemd.units["b.service"].needed_by = ("needs.service",)
    systemd.units["b.service"].followed_by = ("part.service",)
    for name in ("needs.service", "part.service"):
        systemd.add(name, running=True)
    return systemd


def running(systemd: FakeSystemd) -> set[str]:
    return {name for name, unit in systemd.units.items() if unit.active == "active"}


def test_what_a_restart_takes_down_is_in_the_plan_and_runs_again(live: Machine, chained: FakeSystemd) -> None:
    before = {name: unit.invocation for name, unit in chained.units.items()}
    assert shown(live.install(TWO).plan) == [
        "restart b.service: etc/b.conf, named by ExecStart=, changed",
        "restart needs.service: it goes down with b.service",
        "restart part.service: it goes down with b.service",
    ]
    assert running(chained) == chained.units.keys()
    same = {name for name, unit in chained.units.items() if unit.invocation == before[name]}
    assert same == {"a.service", "c.service"}


@pytest.mark.parametrize("failing", ["b.service", "needs.service"])
def test_what_a_failed_restart_took_down_runs_again_though_no_bundle_owns_it(
    live: Machine, chained: FakeSystemd, failing: str
) -> None:
    before = live.tree()
    victim, up = chained.units[failing], chained._up

    def starts(unit: FakeUnit) -> None:
        victim.behaviour = Behaviour.FAILS if live.read("etc/b.conf") == "2" else Behaviour.STAYS
        up(unit)

    chained._up = starts  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError) as raised:
        live.install(TWO)
    assert raised.value.issues[0].where == failing
    assert live.tree() == before
    assert running(chained) == chained.units.keys()


def test_what_a_stop_takes_down_comes_back_where_it_can(live: Machine, chained: FakeSystemd) -> None:
    live.images.add(TWO, {path: text for path, text in tree().items() if "b.service" not in path})
    outcome = live.install(TWO)
    assert running(chained) == {"a.service", "c.service", "part.service"}
    assert "needs.service needs b.service and stops with it" in outcome.plan.notes
    live.roll_back()
    assert running(chained) == {"a.service", "b.service", "c.service", "part.service"}


def test_a_unit_that_waited_for_a_file_starts_when_a_bundle_brings_it(live: Machine, systemd: FakeSystemd) -> None:
    gated = {**tree(), "etc/systemd/system/c.service": "[Unit]\nConditionPathExists=/etc/gate\n" + UNIT.format("c")}
    live.images.add(ONE, gated)
    live.images.add(TWO, {**gated, "etc/gate": ""})
    live.install(ONE)
    systemd.units["c.service"].active, systemd.units["c.service"].condition = "inactive", False
    systemd.log.clear()
    assert shown(planned(live, TWO)) == ["start c.service: ConditionPathExists=/etc/gate says something else now"]
    live.install(TWO)
    assert systemd.log == ["start c.service"]


def test_a_target_that_a_failed_restart_took_down_is_reached_again(live: Machine, systemd: FakeSystemd) -> None:
    """No action is planned for it, since PID 1 brings it back with the unit: not where the unit does not come up."""
    systemd.units["b.service"].needed_by = ("some.target",)
    systemd.add("some.target", running=True)
    up = systemd._up

    def starts(unit: FakeUnit) -> None:
        systemd.units["b.service"].behaviour = Behaviour.FAILS if live.read("etc/b.conf") == "2" else Behaviour.STAYS
        up(unit)

    systemd._up = starts  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError):
        live.install(TWO)
    assert running(systemd) == systemd.units.keys()


def test_a_way_back_never_restarts_what_it_runs_in(live: Machine, systemd: FakeSystemd) -> None:
    """A change that restarted its own service left that in the journal: restarted again, it goes back without end."""
    carrier = "ashore-b538846eaae5.service"
    systemd.add(carrier, running=True)
    units = systemd.states([carrier, "a.service"])
    actions = tuple(UnitAction(verb=UnitVerb.RESTART, unit=unit, reason="") for unit in units)
    systemd.run(actions, 1)
    systemd.log.clear()
    begun = Begun(transaction="b538846eaae5", verb=Verb.INSTALL, boot=live.boot)
    left = Journal(begun=begun, staged=Staged(steps=(), actions=actions, units=units))
    assert restore(live.tools(), left) == []
    assert systemd.log == ["restart a.service"]


def test_a_drop_in_for_all_services_restarts_those_of_bundles(live: Machine, systemd: FakeSystemd) -> None:
    for unit in ("ashore-b538846eaae5.service", "console-getty.service", "cron.service"):
        systemd.add(unit, main_pid=9, running=True)
    live.images.add(TWO, {**tree(), "etc/systemd/system/service.d/x.conf": "[Service]\nNice=1\n"})
    outcome = live.install(TWO)
    assert systemd.log == ["daemon-reload", *(f"restart {name}.service" for name in NAMES)]
    (note,) = outcome.plan.notes
    assert note.startswith("console-getty.service and cron.service are not restarted")


def test_the_service_of_a_socket_of_the_host_is_asked_for(live: Machine, systemd: FakeSystemd) -> None:
    systemd.add("ssh.socket", running=True, triggers=("sshd.service",))
    systemd.add("sshd.service", running=True, main_pid=9)
    systemd.add("dbus.socket", running=True, triggers=("dbus.service",), needed_by=("dbus.service",))
    systemd.add("dbus.service", running=True, main_pid=9)
    dropped = {f"etc/systemd/system/{name}.socket.d/x.conf": "[Socket]\nBacklog=9\n" for name in ("ssh", "dbus")}
    live.images.add(TWO, {**tree(), **dropped})
    assert shown(planned(live, TWO)) == [
        "restart sshd.service: its ssh.socket restarts",
        "restart ssh.socket: etc/systemd/system/ssh.socket.d/x.conf is new",
    ]
    live.install(TWO, confirm=0)
    assert systemd.log == ["daemon-reload", "restart sshd.service", "restart ssh.socket"]


def test_a_unit_that_nobody_may_stop_is_updated_and_removed_all_the_same(live: Machine, systemd: FakeSystemd) -> None:
    systemd.units["b.service"].can_stop = False
    assert live.install(TWO).plan.notes == (
        "b.service may not be restarted by hand: its change takes effect at the next boot",
    )
    assert (live.read("etc/b.conf"), systemd.log) == ("2", [])
    outcome = live.remove("three")
    assert not live.exists("etc/systemd/system/b.service")
    assert systemd.log == ["stop a.service", "stop c.service", "daemon-reload"]
    assert outcome.plan.notes == ("b.service may not be stopped by hand: it runs on until the next boot",)


@pytest.mark.parametrize("by", ["a removal", "a new version", "a rollback"])
def test_a_unit_that_had_failed_leaves_no_failure_behind_when_its_file_goes(
    live: Machine, systemd: FakeSystemd, by: str
) -> None:
    """PID 1 would list it for ever, and call the host degraded."""
    job = {"etc/systemd/system/job@.service": "[Service]\nExecStart=/opt/bin/a\n"}
    live.images.add(TWO, tree() | job | {"etc/systemd/system/d.service": UNIT.format("d")})
    systemd.add("d.service")
    live.install(TWO)
    for name in ("d.service", "job@1.service", "other.service"):
        systemd.add(name, active="failed", sub="failed", result="exit-code")
    changes: dict[str, Callable[[], object]] = {
        "a removal": lambda: live.remove("three"),
        "a new version": lambda: live.install(ONE),
        "a rollback": live.roll_back,
    }
    changes[by]()
    assert [name for name, unit in systemd.units.items() if unit.active == "failed"] == ["other.service"]


def test_only_of_a_change_that_brings_an_image_it_is_said_that_the_image_is_held(
    live: Machine, chained: FakeSystemd
) -> None:
    other = "reg.example/other:1"
    drop_in = "etc/systemd/system/b.service.d/1.conf"
    live.images.add(other, {drop_in: "[Service]\nEnvironment=A=1\n"})
    live.install(other)
    up = chained._up

    def starts(unit: FakeUnit) -> None:
        right = live.exists(drop_in) and live.read("etc/b.conf") != "2"
        chained.units["b.service"].behaviour = Behaviour.STAYS if right else Behaviour.FAILS
        up(unit)

    chained._up = starts  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError) as raised:
        live.remove("other")
    assert raised.value.remedy == "" and not live.tools().history.held()
    with pytest.raises(UnitsFailedError) as raised:
        live.install(TWO)
    assert raised.value.remedy.startswith("the image is held")
