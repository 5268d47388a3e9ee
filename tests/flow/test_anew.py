# SPDX-License-Identifier: Apache-2.0
"""A fact or a value of the host changes: what is installed is rendered anew, from what the host kept of its image."""

import pytest
from msgspec.structs import replace

from ashore.acts.ask.look import status
from ashore.acts.boot.boot import boot
from ashore.errors import InputError, RegistryError
from ashore.nouns.config import Pull
from ashore.nouns.facts import Interface, Network
from tests.fakes.bundles import File, Tree
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import FACTS, Machine
from tests.flow.test_kill import in_child

APP, OTHER = "reg.example/app:1", "reg.example/other:1"
CONF = "etc/app.conf"
UNIT = "[Service]\nExecStart=/opt/bin/app\nEnvironmentFile=/etc/app.conf\n[Install]\nWantedBy=multi-user.target\n"
TREE: Tree = {
    f"{CONF}.j2": "address={{ facts.network.default.ipv4 }}\na\nb\nport={{ port }}\n",
    "etc/systemd/system/app.service": UNIT,
    "etc/plain": "as it is\n",
    "opt/bin/app": File("binary\n" * 1000, mode=0o755),
}
TOML = "[values]\nport = 80\n"


def moved(host: Machine, address: str = "10.0.0.9") -> None:
    """The host has another address from now on."""
    there = Interface(name="eth0", ipv4=address)
    host.facts = replace(FACTS, network=Network(interfaces={"eth0": there}, default=there))


@pytest.fixture
def host(host: Machine) -> Machine:
    host.images.add(APP, TREE, TOML)
    host.images.add(OTHER, {"etc/other": "x\n"})
    host.install(APP)
    return host


def address(host: Machine) -> str:
    return host.read(CONF).splitlines()[0]


@pytest.mark.parametrize("down", [False, True], ids=["reachable", "unreachable"])
def test_an_upgrade_renders_anew_where_a_fact_changed(host: Machine, down: bool) -> None:
    plain = host.marks("etc/plain"), host.marks("opt/bin/app")
    moved(host)
    host.images.down = down
    outcome = host.upgrade()
    assert address(host) == "address=10.0.0.9"
    assert [step.path for step in outcome.plan.steps] == [CONF]
    assert (host.marks("etc/plain"), host.marks("opt/bin/app")) == plain
    said = [note for note in outcome.plan.notes if "rendered anew" in note]
    assert bool(said) is down, "that no registry was asked is said"
    assert not host.images.down or outcome.generation.bundle("app") is not None
    host.images.down = False
    assert not host.upgrade().changed, "and then there is nothing to do"


def test_an_image_that_is_installed_is_not_fetched_to_be_rendered_again(host: Machine) -> None:
    moved(host)
    blobs = dict(host.images._blobs)
    for digest, data in blobs.items():
        if not data.startswith(b"{"):
            del host.images._blobs[digest]
    host.upgrade()
    assert address(host) == "address=10.0.0.9"


def test_a_value_of_the_host_changes_without_a_registry(host: Machine) -> None:
    host.images.down = True
    host.write("etc/ashore/values.d/site.toml", "port = 8080\n")
    host.upgrade("app")
    assert host.read(CONF).endswith("port=8080\n")
    host.upgrade("app", sets={"port": 9090})
    assert host.read(CONF).endswith("port=9090\n")
    host.upgrade("app", reset=True)
    assert host.read(CONF).endswith("port=8080\n")


def test_with_nothing_changed_here_an_unreachable_registry_is_an_error(host: Machine) -> None:
    host.images.down = True
    with pytest.raises(RegistryError):
        host.upgrade()


def test_of_several_bundles_those_that_did_not_change_stay(host: Machine) -> None:
    host.install(OTHER)
    moved(host)
    host.images.down = True
    outcome = host.upgrade()
    assert address(host) == "address=10.0.0.9"
    assert any("other stays as it is" in note for note in outcome.plan.notes)
    assert {b.name for b in outcome.generation.bundles} == {"app", "other"}


def test_an_edit_is_merged_with_what_is_rendered_anew(host: Machine) -> None:
    host.write(CONF, "address=10.0.0.5\na\nmine\nport=80\n".replace("a\nmine", "a\nb\nmine"))
    host.write(CONF, "address=10.0.0.5\na\nb\nport=81\n")
    moved(host)
    host.images.down = True
    host.upgrade()
    assert host.read(CONF) == "address=10.0.0.9\na\nb\nport=81\n"
    host.roll_back()
    assert host.read(CONF) == "address=10.0.0.5\na\nb\nport=81\n"


def test_the_unit_that_reads_the_file_restarts_and_no_other(host: Machine) -> None:
    systemd = FakeSystemd()
    for unit in ("app.service", "second.service"):
        systemd.add(unit, running=True)
    host.systemd = systemd
    host.images.add(APP, {**TREE, "etc/systemd/system/second.service": UNIT.replace("app.conf", "plain")}, TOML)
    host.upgrade()
    said = len(systemd.log)
    moved(host)
    host.images.down = True
    host.upgrade()
    assert systemd.log[said:] == ["restart app.service"]


def test_what_cannot_be_rendered_any_more_changes_nothing(host: Machine) -> None:
    before = host.tree()
    host.facts = replace(FACTS, network=Network())
    host.images.down = True
    with pytest.raises(InputError, match="network"):
        host.upgrade()
    assert host.tree() == before


def test_generations_that_are_kept_can_be_rendered_again_after_a_rollback(host: Machine) -> None:
    host.images.add("reg.example/app:2", {**TREE, "etc/plain": "two\n"}, TOML)
    host.install("reg.example/app:2")
    host.roll_back()
    moved(host)
    host.images.down = True
    host.upgrade()
    assert (address(host), host.read("etc/plain")) == ("address=10.0.0.9", "as it is\n")


def test_what_rendering_needs_goes_with_its_generation(host: Machine) -> None:
    kept = status(host.tools()).generation.bundles[0].source
    assert host.tools().content.has(kept)
    host.remove("app")
    assert host.tools().content.has(kept), "a rollback may need it"
    from ashore.acts.change.discard import prune

    prune(host.tools(), keep=1)
    assert not host.tools().content.has(kept)


def test_without_what_rendering_needs_the_registry_is_asked(host: Machine) -> None:
    source = status(host.tools()).generation.bundles[0].source
    (host.root / f"var/lib/ashore/content/sha256/{source[7:9]}/{source[7:]}").write_bytes(b"damaged")
    moved(host)
    host.upgrade()
    assert address(host) == "address=10.0.0.9"


@pytest.mark.parametrize("pull", [Pull.MISSING, Pull.NEVER, Pull.ALWAYS])
def test_a_boot_renders_anew_by_every_pull_policy(host: Machine, pull: Pull) -> None:
    moved(host)
    host.images.down = True
    booted = boot(host.tools(), [host.ask(APP)], pull)
    assert booted.outcome.changed and not booted.kept
    assert address(host) == "address=10.0.0.9"
    again = boot(host.tools(), [host.ask(APP)], pull)
    assert not again.outcome.changed and again.kept


def test_a_boot_with_a_fact_missing_keeps_what_is_installed(host: Machine) -> None:
    before = host.tree()
    host.facts = replace(FACTS, network=Network())
    booted = boot(host.tools(), [host.ask(APP)], Pull.MISSING)
    assert "cannot be applied" in booted.kept
    assert host.tree() == before


def test_a_kill_while_it_is_rendered_anew_leaves_the_old_or_the_new(host: Machine) -> None:
    from ashore.acts.transaction.recover import recover

    moved(host)
    host.images.down = True
    for at in range(0, 60, 3):
        in_child(lambda machine: machine.upgrade(), host, at)
        tools = host.tools()
        with tools.state.locked():
            recover(tools)
        number = tools.history.current().number
        assert address(host) == ("address=10.0.0.5" if number == 1 else "address=10.0.0.9")
        if number == 2:
            return
    raise AssertionError("it never came to its end")
