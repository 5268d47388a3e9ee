# SPDX-License-Identifier: Apache-2.0
"""What a boot does, by pull policy and by what the registry answers; and the order that units get on such a host."""

from pathlib import Path

import pytest

from ashore.acts.boot import early
from ashore.acts.boot.boot import Booted, boot, brought_as, told
from ashore.acts.boot.early import let_go, recover_at_boot
from ashore.acts.change.outcome import nothing_done
from ashore.acts.transaction.recover import recover
from ashore.errors import AshoreError, BlockedError, ChangedError, RegistryError, UnchangedError, UnitsFailedError
from ashore.mechanisms.state import journal
from ashore.mechanisms.state.state import State
from ashore.nouns.config import Pull
from ashore.nouns.generation import Verb
from ashore.nouns.journal import Area, Begun, Staged
from ashore.nouns.reference import ImageReference, Transport
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.provision.hostunits import RECOVER_TEXT
from tests.fakes.bundles import File
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine

IMAGE = "registry.example/worker:1"
UNIT = "[Unit]\nDescription=x\n[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
UNIT_PATH = "etc/systemd/system/app.service"
DROP_IN = "etc/systemd/system/app.service.d/50-ashore.conf"


def tree(text: str) -> dict[str, File]:
    return {"opt/bin/app": File(text, mode=0o755), UNIT_PATH: File(UNIT)}


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, systemd=FakeSystemd())
    machine.write("etc/systemd/system/ashore-boot.service", "[Service]\nExecStart=true\n")
    machine.images.add(IMAGE, tree("one"))
    assert isinstance(machine.systemd, FakeSystemd)
    machine.systemd.add("app.service")
    return machine


def booted(host: Machine, pull: Pull | None = None) -> Booted:
    return boot(told(host.tools(), lambda: None, booting=True), [host.ask(IMAGE)], pull)


def stop(host: Machine) -> None:
    """A reboot, as far as units go."""
    assert isinstance(host.systemd, FakeSystemd)
    host.systemd.add("app.service")


def test_the_first_boot_installs_and_the_next_one_stays(host: Machine) -> None:
    assert booted(host).outcome.changed
    host.images.add(IMAGE, tree("two"))
    assert "missing" in booted(host).kept
    never = booted(host, Pull.NEVER).kept
    assert "nothing is to be pulled" in never and "policy" not in never, "the boot unit's may be another one"
    assert host.read("opt/bin/app") == "one"


def test_always_follows_the_tag(host: Machine) -> None:
    booted(host)
    host.images.add(IMAGE, tree("two"))
    assert booted(host, Pull.ALWAYS).outcome.changed
    assert host.read("opt/bin/app") == "two"
    assert not booted(host, Pull.ALWAYS).outcome.changed


def test_a_fleet_that_asks_at_each_boot_does_not_ask_all_at_once(host: Machine) -> None:
    host.write("etc/ashore/config.toml", 'random_delay = "10m"\n')
    begun = host.seconds
    booted(host, Pull.ALWAYS)
    waited = host.seconds - begun
    assert waited < 60, "a new node is not kept waiting"
    booted(host, Pull.MISSING)
    assert host.seconds - begun == waited, "nobody is asked"
    delays = set()
    for _ in range(5):
        begun = host.seconds
        booted(host, Pull.ALWAYS)
        delays.add(host.seconds - begun)
    assert len(delays) > 1
    assert max(delays) <= 600
    host.images.add("oci:somewhere", tree("one"))
    begun = host.seconds
    boot(host.tools(), [brought_as(host.ask(IMAGE), "somewhere")], Pull.ALWAYS)
    assert host.seconds == begun, "the engine's unit has waited before it pulled"


def test_the_configuration_has_the_policy_where_the_command_line_has_none(host: Machine) -> None:
    booted(host)
    host.write("etc/ashore/config.toml", 'pull = "always"\n')
    host.images.add(IMAGE, tree("two"))
    assert booted(host).outcome.changed


def test_never_installs_nothing(host: Machine) -> None:
    before = host.tree()
    with pytest.raises(UnchangedError, match="never"):
        booted(host, Pull.NEVER)
    assert host.tree() == before
    booted(host)
    assert "nothing is to be pulled" in booted(host, Pull.NEVER).kept


def test_a_registry_that_is_down_keeps_a_node_up_but_makes_none(host: Machine) -> None:
    host.images.down = True
    with pytest.raises(RegistryError):
        booted(host, Pull.ALWAYS)
    host.images.down = False
    booted(host)
    host.images.down = True
    before = host.tree()
    assert "stays" in booted(host, Pull.ALWAYS).kept
    assert host.tree() == before


def test_a_registry_that_is_blocked_keeps_a_node_up_and_is_not_called_out_of_reach(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted(host)

    def blocked(name: ImageReference) -> object:
        raise BlockedError(f"{name.place} is blocked")

    monkeypatch.setattr(host.images, "open", blocked)
    assert booted(host, Pull.ALWAYS).kept == "registry.example is blocked; what is installed stays"


def test_what_failed_goes_back_the_old_units_start_and_it_does_not_come_again(host: Machine) -> None:
    booted(host)
    before = host.tree()
    host.images.add(IMAGE, tree("two"))
    assert isinstance(host.systemd, FakeSystemd)
    host.systemd.add("app.service", Behaviour.FAILS)
    host.systemd.log.clear()
    with pytest.raises(UnitsFailedError):
        booted(host, Pull.ALWAYS)
    assert host.tree() == before
    assert host.systemd.log[-1] == "start app.service", "PID 1 spent its own start on the version that failed"
    stop(host)
    assert "is held" in booted(host, Pull.ALWAYS).kept
    assert host.tree() == before


BAK = {"etc/systemd/system/bak.service": File(UNIT)}
BAK_LINK = "etc/systemd/system/multi-user.target.wants/bak.service"


def disabled(host: Machine) -> FakeSystemd:
    """A second unit of the bundle, which an administrator has disabled and stopped."""
    host.images.add(IMAGE, tree("one") | BAK)
    assert isinstance(host.systemd, FakeSystemd)
    host.systemd.add("bak.service")
    booted(host)
    (host.root / BAK_LINK).unlink()
    host.systemd.add("bak.service")
    return host.systemd


def test_a_boot_whose_version_fails_does_not_start_what_somebody_disabled(host: Machine) -> None:
    systemd = disabled(host)
    host.images.add(IMAGE, tree("two") | BAK)
    systemd.add("app.service", Behaviour.FAILS)
    with pytest.raises(UnitsFailedError):
        booted(host, Pull.ALWAYS)
    assert systemd.log[-1] == "start app.service"
    assert systemd.units["bak.service"].active == "inactive"


def test_units_that_are_held_no_longer_start_but_for_those_that_somebody_disabled(host: Machine) -> None:
    systemd = disabled(host)
    systemd.log.clear()
    early.held(host.tools(), lambda: nothing_done(host.tools().history.current()))
    assert systemd.log == ["daemon-reload", "start app.service, later"]
    host.write("run/ashore/incomplete", "")
    systemd.log.clear()
    let_go(host.tools())
    assert systemd.log == ["daemon-reload", "start app.service, later"]


def test_a_held_version_and_nothing_else_is_no_success(host: Machine) -> None:
    assert isinstance(host.systemd, FakeSystemd)
    host.systemd.add("app.service", Behaviour.FAILS)
    with pytest.raises(UnitsFailedError):
        booted(host)
    with pytest.raises(UnchangedError, match="not installed"):
        booted(host)


def test_at_boot_an_enabled_unit_that_waits_is_judged_with_the_version(host: Machine) -> None:
    booted(host)
    stop(host)
    host.images.add(IMAGE, tree("two"))
    said = booted(host, Pull.ALWAYS)
    assert [str(action.verb) for action in said.outcome.plan.actions] == ["start"]


def test_units_may_start_when_all_files_are_in_place_and_before_they_are_started(host: Machine) -> None:
    assert isinstance(host.systemd, FakeSystemd)
    seen = []

    def ready() -> None:
        assert isinstance(host.systemd, FakeSystemd)
        seen.append((host.read("opt/bin/app"), list(host.systemd.log)))

    boot(told(host.tools(), ready, booting=True), [host.ask(IMAGE)])
    assert seen == [("one", ["daemon-reload"])]
    assert host.systemd.log == ["daemon-reload", "start app.service"]


def test_an_image_that_was_brought_is_recorded_by_its_own_name(host: Machine) -> None:
    ask = brought_as(host.ask(IMAGE), "somewhere")
    assert ask.reference == ImageReference(transport=Transport.LAYOUT, place="somewhere")
    assert ask.written == IMAGE


def test_services_come_after_the_boot_unit_and_the_drop_in_goes_with_the_bundle(host: Machine) -> None:
    assert isinstance(host.systemd, FakeSystemd)
    host.systemd.add("early.service")
    early = UNIT.replace("[Service]", "DefaultDependencies=no\n[Service]")
    host.images.add(IMAGE, {**tree("one"), "etc/systemd/system/early.service": File(early)})
    booted(host)
    assert "After=ashore-recover.service ashore-boot.service" in host.read(DROP_IN)
    assert "Requires" not in host.read(DROP_IN)
    assert not host.exists("etc/systemd/system/early.service.d"), "it starts before the boot unit can"
    host.remove("worker")
    assert not host.exists("etc/systemd/system/app.service.d")


def test_without_a_boot_unit_there_is_no_drop_in(tmp_path: Path) -> None:
    host = Machine(tmp_path)
    host.images.add(IMAGE, tree("one"))
    host.install(IMAGE)
    assert not host.exists(DROP_IN)


@pytest.mark.parametrize("read_only", [False, True], ids=["damaged", "read-only"])
def test_units_are_held_where_recovery_cannot_even_begin(
    host: Machine, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    booted(host)
    tools = host.tools()
    journal.begin(tools.state, Begun(transaction="t", verb=Verb.UPGRADE, boot="another boot", after=1))
    if read_only:
        monkeypatch.setattr(State, "prepare", _refused)
    else:
        host.write("var/lib/ashore/journal/1-begun.json", "torn")
    with pytest.raises(AshoreError):
        recover_at_boot(host.tools())
    assert host.exists("run/ashore/incomplete")


def held_by_a_torn_journal(host: Machine) -> str:
    """A host whose units are held at boot, as its journal cannot be read; what the journal said."""
    booted(host)
    tools = host.tools()
    journal.begin(tools.state, Begun(transaction="t", verb=Verb.UPGRADE, boot="another boot", after=1))
    whole = host.read("var/lib/ashore/journal/1-begun.json")
    host.write("var/lib/ashore/journal/1-begun.json", "torn")
    with pytest.raises(AshoreError):
        recover_at_boot(host.tools())
    return whole


def test_held_units_start_when_what_was_in_the_way_is_put_right(host: Machine) -> None:
    whole = held_by_a_torn_journal(host)
    let_go(host.tools())
    assert host.exists("run/ashore/incomplete"), "it is not recovered yet"
    host.write("var/lib/ashore/journal/1-begun.json", whole)
    tools = host.tools()
    with tools.state.locked():
        recover(tools)
        let_go(tools)
    assert not host.exists("run/ashore/incomplete")
    assert isinstance(host.systemd, FakeSystemd)
    assert host.systemd.log[-1] == "start app.service, later"


def test_a_boot_unit_that_can_recover_by_then_holds_nothing_any_more(host: Machine) -> None:
    whole = held_by_a_torn_journal(host)
    host.write("var/lib/ashore/journal/1-begun.json", whole)
    assert "missing" in booted(host).kept
    assert not host.exists("run/ashore/incomplete")
    assert isinstance(host.systemd, FakeSystemd)
    assert host.systemd.log[-1] == "start app.service, later"


def test_units_are_held_while_a_mount_that_was_touched_is_absent(host: Machine) -> None:
    booted(host)
    tools = host.tools()
    areas = (Area("opt/data/.ashore/t"),)
    journal.begin(tools.state, Begun(transaction="t", verb=Verb.UPGRADE, boot="another boot", after=1, areas=areas))
    (host.root / "opt/data").mkdir()
    for _ in range(2):
        with pytest.raises(ChangedError, match="/opt/data: is not mounted now"):
            recover_at_boot(host.tools())
        let_go(host.tools())
        assert host.exists("run/ashore/incomplete")
    (host.root / "opt/data/.ashore/t").mkdir(parents=True)  # as a mount brings it
    tools = host.tools()
    with tools.state.locked():
        assert recover(tools).startswith("went back")
        let_go(tools)
    assert not host.exists("run/ashore/incomplete")
    assert not host.exists("opt/data/.ashore")


def test_units_are_held_while_the_state_is_out_of_reach(host: Machine) -> None:
    (host.root / "data/ashore").mkdir(parents=True)
    (host.root / "var/lib/ashore").symlink_to("/data/ashore")
    booted(host)
    before = host.tree()
    (host.root / "data").rename(host.root / "away")
    with pytest.raises(UnchangedError, match="state is not there"):
        recover_at_boot(host.tools())
    assert host.exists("run/ashore/incomplete")
    (host.root / "away").rename(host.root / "data")
    tools = host.tools()
    with tools.state.locked():
        recover(tools)
        let_go(tools)
    assert not host.exists("run/ashore/incomplete")
    assert host.tree() == before
    assert "ConditionPathIsSymbolicLink=|/var/lib/ashore" in RECOVER_TEXT.splitlines()


def test_a_boot_gets_the_bundle_that_its_image_carries_under_another_name(host: Machine) -> None:
    host.images.add(IMAGE, tree("one"), 'name = "old"\n')
    booted(host)
    host.images.add(IMAGE, tree("two"), 'name = "new"\n')
    done = booted(host, Pull.ALWAYS).outcome.generation
    assert [bundle.name for bundle in done.bundles] == ["new"]
    assert host.read("opt/bin/app") == "two"


def test_units_are_not_held_where_nothing_was_interrupted(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    booted(host)
    monkeypatch.setattr(State, "prepare", _refused)
    with pytest.raises(UnchangedError, match="cannot write"):
        recover_at_boot(host.tools())
    assert not host.exists("run/ashore/incomplete")


def _refused(*_: object) -> None:
    raise UnchangedError("cannot write ashore's state folder", cause="Read-only file system")


def test_recovery_at_boot_leaves_nothing_behind_and_waits_for_nobody(host: Machine) -> None:
    booted(host)
    before = host.tree()
    tools = host.tools()
    journal.begin(tools.state, Begun(transaction="t", verb=Verb.UPGRADE, boot="another boot", after=1))
    host.write("var/lib/ashore/incoming/0123/index.json", "what an installer brought before the power went\n")
    assert recover_at_boot(tools).startswith("went back")
    assert not host.exists("var/lib/ashore/incoming")
    assert host.tree() == before
    assert not host.exists("run/ashore/incomplete")
    assert not journal.exists(tools.state)
    other, this = host.tools(), host.tools()
    with other.state.locked():
        assert recover_at_boot(this) == "nothing"


def test_what_runs_already_when_a_boot_has_recovered_begins_anew_with_the_old_files(host: Machine) -> None:
    assert isinstance(host.systemd, FakeSystemd)
    booted(host)
    verbs = {
        "fw.service": UnitVerb.RELOAD,
        "ids.service": UnitVerb.RESTART,
        "off.service": UnitVerb.RESTART,
        "app.service": UnitVerb.START,
    }
    tools = host.tools()
    journal.begin(tools.state, Begun(transaction="t", verb=Verb.UPGRADE, boot="another boot", after=1))
    actions = tuple(UnitAction(verb=verb, unit=unit, reason="") for unit, verb in verbs.items())
    journal.staged(tools.state, Staged(steps=(), actions=actions))
    host.systemd.add("fw.service", running=True, can_reload=True)
    host.systemd.add("ids.service", running=True)
    host.systemd.add("off.service")
    stop(host)
    host.systemd.log.clear()
    assert recover_at_boot(tools).startswith("went back")
    reload, start, *again = host.systemd.log
    assert (reload, start) == ("daemon-reload", "start app.service, later")
    assert sorted(again) == ["reload fw.service, later", "restart ids.service, later"]
