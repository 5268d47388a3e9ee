# SPDX-License-Identifier: Apache-2.0
"""Units of a live root: enabled, started, restarted, stopped; and all of it taken back where one does not come up."""

import os
import socket
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from ashore.acts.change import install as stories
from ashore.acts.transaction.recover import recover
from ashore.errors import AshoreError, ChangedError, InputError, UnitsFailedError
from ashore.nouns.units import JobResult, UnitAction, UnitVerb
from tests.fakes.systemd import Behaviour, FakeSystemd
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
    for number, name in enumerate((ONE, TWO, THREE), 1):
        tree = {SERVICE: UNIT.format(number), "opt/bin/app": f"binary {number}", "etc/unrelated": str(number)}
        host.images.add(name, tree)
    systemd.add("app.service")
    return host


def test_a_new_unit_is_enabled_and_started_after_a_reload(live: Machine, systemd: FakeSystemd) -> None:
    live.install(ONE)
    assert systemd.log == ["daemon-reload", "start app.service"]
    assert os.readlink(live.root / WANTS) == "/" + SERVICE
    assert systemd.units["app.service"].active == "active"


def test_a_changed_unit_is_restarted(live: Machine, systemd: FakeSystemd) -> None:
    live.install(ONE)
    systemd.log.clear()
    live.install(TWO)
    assert systemd.log == ["daemon-reload", "restart app.service"]


def test_a_changed_binary_restarts_its_unit_and_reloads_nothing(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(TWO, {SERVICE: UNIT.format(1), "opt/bin/app": "another binary", "etc/unrelated": "1"})
    live.install(ONE)
    systemd.log.clear()
    live.install(TWO)
    assert systemd.log == ["restart app.service"]


def test_a_change_that_concerns_no_unit_restarts_nothing(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(TWO, {SERVICE: UNIT.format(1), "opt/bin/app": "binary 1", "etc/unrelated": "changed"})
    live.install(ONE)
    systemd.log.clear()
    live.install(TWO)
    assert systemd.log == []


def test_a_removed_unit_is_stopped_and_disabled_before_its_files_go(live: Machine, systemd: FakeSystemd) -> None:
    before = live.tree()
    live.install(ONE)
    systemd.log.clear()
    there: list[bool] = []

    class Watching(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            there.extend(live.exists(SERVICE) and live.exists("opt/bin/app") for a in actions if a.unit in self.units)
            return super().run(actions, deadline)

    watching = Watching(systemd.units)
    watching.services = systemd.services
    live.systemd = watching
    live.remove("app")
    assert watching.log == ["stop app.service", "daemon-reload"]
    assert there == [True], "the unit is stopped while its files are there"
    assert live.tree() == before


def test_a_unit_that_a_new_version_no_longer_ships_is_stopped(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(TWO, {"etc/unrelated": "2"})
    live.install(ONE)
    systemd.log.clear()
    live.install(TWO)
    assert systemd.log == ["stop app.service", "daemon-reload"]
    assert not live.exists(WANTS)


@pytest.mark.parametrize("behaviour", [Behaviour.FAILS, Behaviour.DIES, Behaviour.FLAPS, Behaviour.HANGS])
def test_a_unit_that_does_not_come_up_takes_everything_back(
    live: Machine, systemd: FakeSystemd, behaviour: Behaviour
) -> None:
    live.install(ONE)
    before, number = live.tree(), live.tools().history.current_number()
    old = _the_new_version_behaves(live, systemd, behaviour)
    systemd.log.clear()
    with pytest.raises(UnitsFailedError) as raised:
        live.install(TWO)
    error = raised.value
    assert error.code == 7
    assert error.issues[0].where == "app.service" and "journalctl" in error.issues[0].remedy
    assert live.tree() == before, "files and enablement"
    assert live.leftovers() == []
    assert live.tools().history.current_number() == number
    assert systemd.units["app.service"].active == "active", "what ran runs again"
    assert old, "with its old files"
    assert systemd.log[-2:] in (["daemon-reload", "restart app.service"], ["daemon-reload", "start app.service"])
    (held,) = live.tools().history.held().values()
    assert held.reference == TWO and "app.service" in held.reason


def _the_new_version_behaves(live: Machine, systemd: FakeSystemd, behaviour: Behaviour) -> list[str]:
    """With the new unit file the unit behaves so, with the old one it stays up; returns when that was seen again."""
    unit = systemd.units["app.service"]
    real_run, seen = systemd.run, list[str]()

    def run(actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        starts = [action.verb for action in actions if action.verb is not UnitVerb.STOP]
        if "Description=1" in live.read(SERVICE):
            unit.behaviour = Behaviour.STAYS
            seen.extend(starts)
        elif starts:
            unit.behaviour = behaviour
        return real_run(actions, deadline)

    systemd.run = run  # type: ignore[method-assign]
    return seen


def test_a_first_install_that_fails_leaves_no_trace(live: Machine, systemd: FakeSystemd) -> None:
    before = live.tree()
    systemd.units["app.service"].behaviour = Behaviour.DIES
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert live.tree() == before
    assert live.tools().history.current_number() is None
    assert systemd.units["app.service"].active == "inactive", "what did not run does not run, and is not failed"
    assert systemd.log[-1] == "daemon-reload"


def test_a_held_digest_is_released_by_who_installs_it_by_name(live: Machine, systemd: FakeSystemd) -> None:
    systemd.units["app.service"].behaviour = Behaviour.FAILS
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert live.tools().history.held()
    systemd.units["app.service"].behaviour = Behaviour.STAYS
    live.install(ONE)
    assert live.tools().history.held() == {}


def test_one_failing_unit_takes_every_bundle_of_the_transaction_back(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add("reg.example/other:1", {"etc/systemd/system/other.service": UNIT.format("other"), "etc/other": "x"})
    systemd.add("other.service", Behaviour.FAILS)
    before = live.tree()
    with pytest.raises(UnitsFailedError):
        live.install(ONE, "reg.example/other:1")
    assert live.tree() == before
    assert systemd.units["app.service"].active == "inactive"


def test_a_unit_that_was_stopped_comes_back_with_the_files(live: Machine, systemd: FakeSystemd) -> None:
    """The new version drops one unit and brings another that fails: the dropped one runs again."""
    live.images.add(TWO, {"etc/systemd/system/new.service": UNIT.format("new")})
    systemd.add("new.service", Behaviour.FAILS)
    live.install(ONE)
    before = live.tree()
    with pytest.raises(UnitsFailedError):
        live.install(TWO)
    assert live.tree() == before
    assert systemd.units["app.service"].active == "active"
    assert systemd.units["new.service"].active == "inactive"


def test_a_unit_that_somebody_stopped_is_not_started_by_an_upgrade_nor_by_its_failure(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.install(ONE)
    systemd.run([UnitAction(verb=UnitVerb.STOP, unit="app.service", reason="by hand")], 1)
    systemd.log.clear()
    live.install(TWO)
    assert systemd.log == ["daemon-reload"]
    assert systemd.units["app.service"].active == "inactive"


def test_an_administrators_disable_is_respected_and_said(live: Machine, systemd: FakeSystemd) -> None:
    live.install(ONE)
    (live.root / WANTS).unlink()
    systemd.run([UnitAction(verb=UnitVerb.STOP, unit="app.service", reason="by hand")], 1)
    systemd.log.clear()
    outcome = live.install(TWO)
    assert not live.exists(WANTS)
    assert systemd.units["app.service"].active == "inactive"
    assert any("disabled by an administrator" in note for note in outcome.plan.notes)
    live.roll_back()
    assert not live.exists(WANTS)


def test_an_administrators_mask_is_respected_and_said(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {"usr/lib/systemd/system/app.service": UNIT.format(1)})
    (live.root / SERVICE).symlink_to("/dev/null")
    systemd.units["app.service"].load = "masked"
    before = live.tree()
    outcome = live.install(ONE)
    assert os.readlink(live.root / SERVICE) == "/dev/null"
    assert "start app.service" not in systemd.log
    assert any("masked" in note for note in outcome.plan.notes)
    live.remove("app")
    assert live.tree() == before


def test_a_mask_where_the_bundle_ships_the_unit_is_a_conflict_and_stays(live: Machine) -> None:
    (live.root / SERVICE).symlink_to("/dev/null")
    before = live.tree()
    with pytest.raises(AshoreError) as raised:
        live.install(ONE)
    assert raised.value.code == 6
    assert live.tree() == before


def test_a_mask_set_after_the_install_stays_over_an_upgrade(live: Machine, systemd: FakeSystemd) -> None:
    live.images.add(ONE, {"usr/lib/systemd/system/app.service": UNIT.format(1)})
    live.images.add(TWO, {"usr/lib/systemd/system/app.service": UNIT.format(2)})
    live.install(ONE)
    (live.root / SERVICE).symlink_to("/dev/null")
    systemd.units["app.service"].load = "masked"
    systemd.units["app.service"].active = "inactive"
    systemd.log.clear()
    outcome = live.install(TWO)
    assert os.readlink(live.root / SERVICE) == "/dev/null"
    assert "Description=2" in live.read("usr/lib/systemd/system/app.service")
    assert not [line for line in systemd.log if "start" in line]
    assert any("masked" in note for note in outcome.plan.notes)


def test_enablement_that_was_there_before_comes_back(live: Machine) -> None:
    """The administrator had enabled a unit of the host's in the very place that the bundle wants."""
    (live.root / "etc/systemd/system/multi-user.target.wants").mkdir()
    (live.root / WANTS).symlink_to("/usr/lib/systemd/system/app.service")
    live.write("usr/lib/systemd/system/app.service", UNIT.format("of a package"))
    before = live.tree()
    live.install(ONE)
    assert os.readlink(live.root / WANTS) == "/" + SERVICE
    live.remove("app")
    assert live.tree() == before


def test_a_unit_of_the_host_that_a_bundle_only_enables_runs_on_after_removal(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.write("usr/lib/systemd/system/ssh.service", UNIT.format("ssh"))
    systemd.add("ssh.service", running=True)
    live.images.add(ONE, {"etc/x": "x"}, '[units]\nenable = ["ssh.service"]\n')
    before = live.tree()
    live.install(ONE)
    assert live.exists("etc/systemd/system/multi-user.target.wants/ssh.service")
    live.remove("app")
    assert live.tree() == before
    assert systemd.units["ssh.service"].active == "active"


@pytest.mark.parametrize("unit", ["chrony.service", "fstrim.timer", "w@a.service"])
@pytest.mark.parametrize("drops", ["remove", "upgrade"])
def test_the_hosts_own_unit_runs_on_when_the_file_that_hid_it_goes(
    live: Machine, systemd: FakeSystemd, unit: str, drops: str
) -> None:
    name = unit.replace("@a.", "@.")
    live.write(f"usr/lib/systemd/system/{name}", UNIT.format("the host's"))
    wants = live.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit).symlink_to(f"/usr/lib/systemd/system/{name}")
    systemd.add(unit, running=True)
    live.images.add(ONE, {f"etc/systemd/system/{name}": UNIT.format("ours"), "etc/x": "x"})
    live.images.add(TWO, {"etc/x": "x"})
    live.install(ONE)
    systemd.log.clear()
    outcome = live.remove("app") if drops == "remove" else live.install(TWO)
    assert systemd.log == ["daemon-reload", f"restart {unit}"]
    assert [action.reason for action in outcome.plan.actions] == [f"etc/systemd/system/{name} is removed"]
    assert systemd.units[unit].active == "active"


def test_what_only_the_bundle_enabled_stops_with_it_also_where_the_host_has_a_unit_of_that_name(
    live: Machine, systemd: FakeSystemd
) -> None:
    live.write("usr/lib/systemd/system/app.service", UNIT.format("the host's"))
    live.install(ONE)
    systemd.log.clear()
    live.remove("app")
    assert systemd.log == ["stop app.service", "daemon-reload"]


def test_of_an_enabled_template_the_default_instance_is_started_watched_and_stopped(
    live: Machine, systemd: FakeSystemd
) -> None:
    systemd.add("w@main.service")
    unit = "[Service]\nExecStart=/opt/w %i\n[Install]\nWantedBy=multi-user.target\nDefaultInstance=main\n"
    live.images.add(ONE, {"etc/systemd/system/w@.service": unit}, '[units]\nenable = ["w@.service"]\n')
    live.images.add(TWO, {"etc/systemd/system/w@.service": unit}, "[units]\nenable = []\n")
    before = live.tree()
    outcome = live.install(ONE)
    assert systemd.log == ["daemon-reload", "start w@main.service"]
    assert outcome.generation.bundles[0].enabled == ("w@main.service",)
    systemd.log.clear()
    live.install(TWO)
    assert systemd.log == ["stop w@main.service", "daemon-reload"]
    live.remove("app")
    assert live.tree() == before
    systemd.add("w@main.service", Behaviour.DIES)
    with pytest.raises(UnitsFailedError):
        live.install(ONE)


def test_a_unit_file_that_another_bundle_hides_is_noted_where_one_of_them_changes(live: Machine) -> None:
    live.images.add(ONE, {SERVICE: "[Service]\nExecStart=/opt/1\n"}, 'name = "one"\n')
    live.images.add(TWO, {"usr/lib/systemd/system/app.service": "[Service]\nExecStart=/opt/2\n"}, 'name = "two"\n')
    live.images.add(THREE, {"etc/unrelated": "3"}, 'name = "three"\n')
    said = f"/usr/lib/systemd/system/app.service is not in effect: /{SERVICE} hides it"
    assert said not in live.install(ONE).plan.notes
    assert said in live.install(TWO).plan.notes
    assert said not in live.install(THREE).plan.notes


def test_a_unit_that_is_nowhere_cannot_be_enabled(live: Machine) -> None:
    live.images.add(ONE, {"etc/x": "x"}, '[units]\nenable = ["nothing.service"]\n')
    before = live.tree()
    with pytest.raises(InputError, match=r"nothing\.service"):
        live.install(ONE)
    assert live.tree() == before


def test_on_an_offline_root_there_is_enablement_and_nothing_is_started(host: Machine) -> None:
    host.images.add(ONE, {SERVICE: UNIT.format(1)})
    host.install(ONE)
    assert os.readlink(host.root / WANTS) == "/" + SERVICE


@pytest.mark.parametrize("verb", [UnitVerb.RESTART, UnitVerb.STOP])
def test_a_pid1_that_goes_away_half_way_leaves_a_host_that_recovery_brings_back(
    live: Machine, systemd: FakeSystemd, verb: UnitVerb
) -> None:
    live.install(ONE)
    before = live.tree()

    class Gone(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            raise AshoreError("the connection to systemd broke")

    live.systemd = Gone(systemd.units)
    with pytest.raises(AshoreError) as raised:
        live.install(TWO) if verb is UnitVerb.RESTART else live.remove("app")
    if isinstance(raised.value, ChangedError):
        assert raised.value.issues
    live.systemd = systemd
    tools = live.tools()
    with tools.state.locked():
        recover(tools)
    assert live.tree() == before
    assert live.leftovers() == []
    assert systemd.units["app.service"].active == "active"


def test_after_a_reboot_was_running_means_nothing(live: Machine, systemd: FakeSystemd) -> None:
    """A transaction cut short by a power cut: the files go back, and PID 1 has started what it starts at boot."""
    live.install(ONE)
    before = live.tree()

    class Cut(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            os._exit(9)

    child = os.fork()
    if child == 0:
        live.systemd = Cut(systemd.units)
        live.install(TWO)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert live.tree() != before
    booted = FakeSystemd()
    booted.add("app.service")
    live.systemd = booted
    tools = replace(live.tools(), boot="boot-2")
    with tools.state.locked():
        recover(tools)
    assert live.tree() == before
    assert [line for line in booted.log if "start" in line] == [], "nothing of the boot before is started again"


def test_a_health_check_that_does_not_hold_takes_everything_back(live: Machine, systemd: FakeSystemd) -> None:
    health = '[[health]]\nunit = "app.service"\ntcp = "127.0.0.1:1"\nwithin = "2s"\nsettle = "0s"\n'
    live.images.add(TWO, {SERVICE: UNIT.format(2), "opt/bin/app": "binary 2"}, health)
    live.install(ONE)
    before = live.tree()
    with pytest.raises(UnitsFailedError) as raised:
        live.install(TWO)
    assert "127.0.0.1:1" in str(raised.value) or "refused" in str(raised.value)
    assert live.tree() == before
    assert systemd.units["app.service"].active == "active"


def test_a_failed_rollback_leaves_the_host_as_it_was(live: Machine, systemd: FakeSystemd) -> None:
    live.install(ONE)
    live.install(TWO)
    before = live.tree()
    unit = systemd.units["app.service"]
    real_run = systemd.run

    def run(actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        unit.behaviour = Behaviour.FAILS if "Description=1" in live.read(SERVICE) else Behaviour.STAYS
        return real_run(actions, deadline)

    systemd.run = run  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError):
        stories.roll_back(live.tools())
    assert live.tree() == before
    assert unit.active == "active"
    assert live.tools().history.current_number() == 2


OTHER = "reg.example/other:1"


def _breaks(live: Machine, systemd: FakeSystemd, broken: str) -> None:
    """Bundle `other` has other.service, which is `broken` as soon as the second version of app is placed."""
    text = UNIT.format("other").replace("/opt/bin/app", "/bin/other")
    live.images.add(OTHER, {"etc/systemd/system/other.service": text})
    systemd.add("other.service")
    live.install(ONE, OTHER)
    real_run = systemd.run

    def run(actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        other = systemd.units["other.service"]
        if "Description=2" in live.read(SERVICE) and any(a.unit == "app.service" for a in actions):
            other.active, other.sub = broken, "dead"
        return real_run(actions, deadline)

    systemd.run = run  # type: ignore[method-assign]


@pytest.mark.parametrize("broken", ["failed", "inactive"])
def test_a_change_that_breaks_the_unit_of_another_bundle_goes_back(
    live: Machine, systemd: FakeSystemd, broken: str
) -> None:
    _breaks(live, systemd, broken)
    before = live.tree()
    with pytest.raises(UnitsFailedError, match=r"other\.service.*it ran before this change"):
        live.install(TWO)
    assert live.tree() == before
    assert systemd.units["other.service"].active == "active", "it runs again"
    (held,) = live.tools().history.held().values()
    assert held.reference == TWO, "the one that broke it is held, and not the broken one"


def test_a_unit_of_another_bundle_that_had_failed_before_stops_nobody(live: Machine, systemd: FakeSystemd) -> None:
    _breaks(live, systemd, "failed")
    systemd.units["other.service"].active = "failed"
    live.install(TWO)
    assert "Description=2" in live.read(SERVICE)


def test_a_check_of_another_bundle_that_fails_before_and_after_stops_nobody(live: Machine) -> None:
    check = '[[health]]\ntcp = "127.0.0.1:1"\nwithin = "2s"\n'
    with socket.create_server(("127.0.0.1", 0)) as server:
        live.images.add(OTHER, {"etc/other": "x"}, check.replace(":1", f":{server.getsockname()[1]}"))
        live.install(OTHER)
    live.install(ONE)
    assert live.exists(SERVICE)


def test_a_check_of_another_bundle_that_held_before_has_to_hold_after(live: Machine, systemd: FakeSystemd) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    check = f'[[health]]\ntcp = "127.0.0.1:{server.getsockname()[1]}"\nwithin = "2s"\n'
    live.images.add(OTHER, {"etc/other": "x"}, check)
    live.install(OTHER)
    real_run = systemd.run

    def run(actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        server.close()
        return real_run(actions, deadline)

    systemd.run = run  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError, match="other was well before this change"):
        live.install(ONE)
    assert not live.exists(SERVICE)
