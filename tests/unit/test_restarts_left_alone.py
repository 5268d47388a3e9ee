# SPDX-License-Identifier: Apache-2.0
"""Units of the host whose own drop-ins change: which restart, and which are told of and left alone."""

import pytest

from ashore.nouns.units import HostUnits, UnitState
from ashore.rules.units.changes import Changes
from ashore.rules.units.reasons import Reaction, carries_us
from ashore.rules.units.situation import UnitPlan, UnitSet
from tests.unit.test_restarts import SYSTEM, plan, said, states

NOTHING = UnitSet()
WATCH = "ashore-watch-04099d512a71.service"
RUNNING = (
    states("cron.service", "systemd-logind.service", "console-getty.service", main_pid=7, sub="running")
    | states("ashore-b538846eaae5.service", WATCH, main_pid=8, sub="running")
    | states("systemd-sysusers.service", "networking.service", type="oneshot", sub="exited")
    | states("lsb.service", type="forking", sub="exited")
    | states("user@0.service", "getty@tty1.service", main_pid=7)
    | states("systemd-journald.socket", "dbus.socket", "data.mount", "init.scope", "dev-sda.device", "a.target")
)
MANY, TWO = "console-getty.service, cron.service", "systemd-logind.service and systemd-sysusers.service"
HOST = HostUnits(listed=tuple(RUNNING))


def dropped_in(folder: str, *, running: dict[str, UnitState] = RUNNING, restart: tuple[str, ...] = ()) -> UnitPlan:
    path = f"{SYSTEM}/{folder}/x.conf"
    new = UnitSet(texts={path: "[Service]\nTimeoutStartSec=60\n"})
    changes = Changes(created=frozenset({path}))
    host = HostUnits(listed=tuple(running))
    return plan(changes, old=NOTHING, new=new, running=running, reactions={path: Reaction(restart=restart)}, host=host)


@pytest.mark.parametrize(
    "folder", ["service.d", "systemd-.service.d", "socket.d", "mount.d", "device.d", "ashore-.service.d"]
)
def test_a_drop_in_for_many_restarts_nothing_of_the_host(folder: str) -> None:
    result = dropped_in(folder)
    assert said(result) == []
    assert result.daemon_reload
    assert not any("ashore-" in note.partition(":")[0] for note in result.notes)


def test_which_units_run_on_without_it_is_one_note() -> None:
    assert dropped_in("service.d").notes == (
        f"{MANY} and 6 others are not restarted, and run on as they were: {SYSTEM}/service.d/x.conf is new",
    )
    assert dropped_in("systemd-.service.d").notes == (
        f"{TWO} are not restarted, and run on as they were: {SYSTEM}/systemd-.service.d/x.conf is new",
    )


def test_a_drop_in_for_many_restarts_what_bundles_ship_or_enable() -> None:
    path = f"{SYSTEM}/service.d/x.conf"
    texts = {path: "", f"{SYSTEM}/kubelet.service": "[Service]\nExecStart=/opt/kubelet\n"}
    units = UnitSet(texts=texts, wanted=("kubelet.service", "cron.service", "getty@tty1.service"))
    running = RUNNING | states("kubelet.service")
    result = plan(Changes(created=frozenset({path})), old=units, new=units, running=running, host=HOST)
    assert [action.unit for action in result.actions] == ["cron.service", "kubelet.service"]


@pytest.mark.parametrize(
    "unit",
    [
        *("systemd-logind.service", "console-getty.service", "user@0.service", "getty@tty1.service"),
        *("lsb.service", "networking.service", "data.mount"),
    ],
)
def test_a_drop_in_for_what_is_not_ours_to_restart_is_told_of(unit: str) -> None:
    result = dropped_in(f"{unit}.d")
    assert said(result) == []
    assert result.notes == (f"{unit} is not restarted, and runs on as it was: {SYSTEM}/{unit}.d/x.conf is new",)


def test_a_drop_in_of_a_template_of_logins_is_told_of() -> None:
    result = dropped_in("getty@.service.d")
    assert (said(result), len(result.notes)) == ([], 1)


def test_a_scope_of_the_host_has_nothing_to_restart() -> None:
    assert said(dropped_in("init.scope.d")) == []


@pytest.mark.parametrize("unit", ["cron.service", "systemd-journald.socket"])
def test_a_drop_in_for_one_unit_of_the_host_restarts_it(unit: str) -> None:
    result = dropped_in(f"{unit}.d")
    assert said(result) == [f"restart {unit}: {SYSTEM}/{unit}.d/x.conf is new"]
    assert result.notes == ()


def test_what_a_bundle_says_is_to_restart_restarts_also_what_is_else_left_alone() -> None:
    unit = "systemd-logind.service"
    result = dropped_in(f"{unit}.d", restart=(unit, "networking.service"))
    assert [(action.verb, action.unit) for action in result.actions] == [
        ("restart", "networking.service"),
        ("restart", unit),
    ]
    assert result.notes == ()


BUS = (
    states("dbus.socket", triggers=("dbus.service",), needed_by=("dbus.service",))
    | states("dbus.service", needed_by=("systemd-logind.service",))
    | states("systemd-logind.service")
)


@pytest.mark.parametrize(
    "running",
    [
        BUS,
        BUS | states("dbus.socket", triggers=("dbus.service",)),
        BUS | states("dbus.socket", needed_by=("x.service",)),
    ],
    ids=["by its need", "as its service", "by another"],
)
def test_a_unit_is_not_restarted_where_that_takes_the_bus_down(running: dict[str, UnitState]) -> None:
    running = running | states("x.service", followed_by=("dbus.service",))
    result = dropped_in("dbus.socket.d", running=running)
    assert said(result) == []
    (note,) = result.notes
    assert note.startswith("dbus.socket is not restarted, since dbus.service would go down with it, and runs on as it ")


def test_a_service_is_not_restarted_for_a_socket_that_is_left_alone() -> None:
    running = states("a.socket", triggers=("a.service",)) | states("a.service", needed_by=("getty@tty1.service",))
    result = dropped_in("a.socket.d", running=running | states("getty@tty1.service"))
    assert said(result) == []
    assert "since getty@tty1.service would go down with it" in result.notes[0]


@pytest.mark.parametrize("login", ["systemd-logind.service", "ashore-b538846eaae5.service", "user@0.service"])
def test_a_unit_of_a_bundle_is_not_restarted_where_that_ends_a_session(login: str) -> None:
    path = f"{SYSTEM}/base.service"
    base = UnitSet(texts={path: "[Service]\nExecStart=/opt/base\n"}, wanted=("base.service",))
    running = states("base.service", followed_by=(login,)) | states(login)
    result = plan(Changes(replaced=frozenset({path})), old=base, new=base, running=running)
    assert said(result) == []
    assert f"since {login} would go down with it" in result.notes[0]
    down = running | states(login, active="inactive")
    assert [a.unit for a in plan(Changes(replaced=frozenset({path})), old=base, new=base, running=down).actions] == [
        "base.service"
    ]


def shipped(text: str) -> UnitSet:
    return UnitSet(texts={f"{SYSTEM}/r.service": f"[Unit]\n{text}[Service]\nExecStart=/opt/r\n"}, wanted=("r.service",))


FILE = frozenset({f"{SYSTEM}/r.service"})
NO_START, NO_STOP = shipped("RefuseManualStart=yes\n"), shipped("RefuseManualStop=true\n")
NEXT_BOOT = "r.service may not be restarted by hand: its change takes effect at the next boot"


def test_what_may_not_be_started_by_hand_waits_for_what_pulls_it_in() -> None:
    absent = states("r.service", active="inactive", load="not-found", can_start=False)
    result = plan(Changes(created=FILE), old=NOTHING, new=NO_START, running=absent)
    assert said(result) == []
    assert result.notes == (
        "r.service may not be started by hand: it starts when the boot, or another unit, pulls it in",
    )
    assert said(plan(Changes(created=FILE), old=NOTHING, new=NO_STOP, running=absent)) == [
        "start r.service: newly enabled"
    ]


@pytest.mark.parametrize("units", [NO_START, NO_STOP], ids=["start", "stop"])
def test_what_may_not_be_started_or_stopped_by_hand_is_not_restarted(units: UnitSet) -> None:
    result = plan(Changes(replaced=FILE), old=units, new=units, running=states("r.service"))
    assert (said(result), result.notes) == ([], (NEXT_BOOT,))


def test_what_a_new_version_allows_is_allowed() -> None:
    """PID 1 has read it by then."""
    running = states("r.service", can_stop=False)
    assert said(plan(Changes(replaced=FILE), old=NO_STOP, new=shipped(""), running=running)) == [
        f"restart r.service: {SYSTEM}/r.service changed"
    ]


@pytest.mark.parametrize("new", [NOTHING, UnitSet(texts=NO_STOP.texts)], ids=["removed", "not enabled"])
def test_what_may_not_be_stopped_by_hand_lets_its_files_go(new: UnitSet) -> None:
    changes = Changes() if new.texts else Changes(removed=FILE)
    result = plan(changes, old=NO_STOP, new=new, running=states("r.service", can_stop=False))
    assert said(result) == []
    assert result.notes == ("r.service may not be stopped by hand: it runs on until the next boot",)


@pytest.mark.parametrize("refused", ["can_start", "can_stop"])
def test_a_drop_in_for_a_unit_of_the_host_that_refuses_waits_for_the_boot(refused: str) -> None:
    result = dropped_in("r.service.d", running=states("r.service", main_pid=7, **{refused: False}))
    assert (said(result), result.notes) == ([], (NEXT_BOOT,))


def test_a_socket_is_not_restarted_where_its_service_refuses() -> None:
    running = states("r.socket", triggers=("r.service",)) | states("r.service", can_stop=False)
    result = dropped_in("r.socket.d", running=running)
    assert (said(result), result.notes) == ([], (NEXT_BOOT.replace(".service", ".socket"),))


def test_what_goes_down_with_a_unit_and_refuses_is_left_to_pid_1() -> None:
    base = UnitSet(texts={f"{SYSTEM}/base.service": "[Service]\nExecStart=/opt/base\n"}, wanted=("base.service",))
    running = states("base.service", needed_by=("r.service", "s.service")) | states("r.service", can_start=False)
    running |= states("s.service", can_stop=False)
    path = frozenset({f"{SYSTEM}/base.service"})
    assert [a.unit for a in plan(Changes(replaced=path), old=base, new=base, running=running).actions] == [
        "base.service",
        "s.service",
    ]
    gone = plan(Changes(removed=path), old=base, new=NOTHING, running=running)
    assert [a.unit for a in gone.stops] == ["base.service", "r.service"]
    assert "s.service needs base.service and stops with it" in gone.notes


def test_the_services_that_carry_a_change_are_known_by_name() -> None:
    ours = ["ashore-b538846eaae5.service", WATCH, "ashore-recover.service", "ashore-settle.service"]
    assert all(carries_us(unit) for unit in ours)
    assert not any(carries_us(unit) for unit in ("ashore-exporter.service", "app.service", "ashore-follow.timer"))
