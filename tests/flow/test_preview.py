# SPDX-License-Identifier: Apache-2.0
"""What a story would do is what it does then; and looking changes nothing."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ashore.acts.change import preview
from ashore.acts.change.asking import upgrades
from ashore.acts.change.install import install
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.repair import Scope, plan_repair, repair
from ashore.acts.plan.differences import differences
from ashore.errors import AshoreError, ChangedError, RegistryError, UnchangedError, UsageError
from ashore.nouns.ask import NOTHING, Ask
from ashore.nouns.generation import Verb
from ashore.nouns.reference import Transport
from tests.fakes.bundles import Tree
from tests.fakes.systemd import FakeSystemd
from tests.flow.machine import Machine, snapshot
from tests.flow.test_kill import in_child

ONE = "reg.example/app:1"
CONF = "etc/app.conf"
UNIT = "[Service]\nExecStart=/opt/app {}\n[Install]\nWantedBy=multi-user.target\n"
TREE: Tree = {CONF: "a\nb\n", "etc/systemd/system/app.service": UNIT.format(1), "opt/app": "x\n"}
NEXT: Tree = {CONF: "a\nc\n", "etc/systemd/system/app.service": UNIT.format(2), "opt/app": "x\n", "etc/more": "y\n"}


@pytest.fixture
def app(tmp_path: Path) -> Machine:
    systemd = FakeSystemd()
    systemd.add("app.service")
    live = Machine(tmp_path, systemd=systemd)
    live.images.add(ONE, TREE)
    live.install(ONE)
    live.images.add(ONE, NEXT)
    return live


def asked(host: Machine) -> list[Ask]:
    return upgrades(host.tools().history.current(), (), NOTHING)


def upgraded(host: Machine, names: tuple[str, ...] = ("app",)) -> Outcome:
    return install(host.tools(), asked(host), Verb.UPGRADE, all_of_them=not names)


def foreseen(host: Machine, names: tuple[str, ...] = ("app",)) -> preview.Foreseen:
    return preview.plan_upgrade(host.tools(), asked(host), all_of_them=not names)


def gone(host: Machine) -> None:
    (host.root / CONF).unlink()


def spoilt(host: Machine) -> None:
    """A file of nobody, and a unit that somebody disabled and stopped."""
    host.write("opt/foreign", "x\n")
    (host.root / "etc/systemd/system/multi-user.target.wants/app.service").unlink()
    assert isinstance(host.systemd, FakeSystemd)
    host.systemd.units["app.service"].active = "inactive"


STORIES: dict[
    str, tuple[Callable[[Machine], object], Callable[[Machine], preview.Foreseen], Callable[[Machine], Outcome]]
] = {
    "upgrade": (lambda host: None, foreseen, upgraded),
    "rollback": (upgraded, lambda host: preview.plan_rollback(host.tools()), Machine.roll_back),
    "rollback of one": (
        upgraded,
        lambda host: preview.plan_rollback(host.tools(), bundle="app"),
        lambda host: host.roll_back(bundle="app"),
    ),
    "remove": (
        upgraded,
        lambda host: preview.plan_removal(host.tools(), ["app"]),
        lambda host: host.remove("app"),
    ),
    "repair of what is nobody's, and of a unit": (
        spoilt,
        lambda host: plan_repair(host.tools(), Scope(foreign=True))[0],
        lambda host: repair(host.tools(), Scope(foreign=True)).outcome,
    ),
    "repair": (
        gone,
        lambda host: plan_repair(host.tools(), Scope())[0],
        lambda host: repair(host.tools(), Scope()).outcome,
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_what_is_foreseen_is_what_comes_and_looking_changes_nothing(app: Machine, story: str) -> None:
    before, look, do = STORIES[story]
    before(app)
    assert isinstance(app.systemd, FakeSystemd)
    there, said = snapshot(app.root), list(app.systemd.log)
    plan, _ = look(app)
    assert (snapshot(app.root), app.systemd.log) == (there, said)
    done = do(app).plan
    assert plan.steps, "the case has something to foresee"
    assert plan.steps == done.steps
    assert (plan.stops, plan.actions, plan.bundles) == (done.stops, done.actions, done.bundles)


def test_nothing_to_do_is_foreseen_as_nothing(app: Machine) -> None:
    upgraded(app)
    plan, _ = foreseen(app)
    assert not plan.changes
    assert not plan_repair(app.tools(), Scope())[0][0].changes


def test_the_purge_of_an_edit_is_foreseen(app: Machine) -> None:
    app.write(CONF, "mine\n")
    plan, _ = preview.plan_removal(app.tools(), ["app"], purge=True)
    assert [step.note for step in plan.steps if step.edited] == ["an edit; --purge dropped it"]


@pytest.mark.parametrize(
    "look",
    [
        preview.plan_rollback,
        lambda tools: preview.plan_rollback(tools, to=7),
        lambda tools: preview.plan_removal(tools, ["app"]),
        lambda tools: plan_repair(tools, Scope(names=("etc/x",)))[0],
    ],
)
def test_where_ashore_never_was_it_is_refused_and_leaves_no_trace(
    host: Machine, look: Callable[[object], object]
) -> None:
    there = snapshot(host.root)
    with pytest.raises(UsageError):
        look(host.tools())
    assert snapshot(host.root) == there


def test_what_was_interrupted_comes_first(app: Machine) -> None:
    in_child(upgraded, app, 30)
    with pytest.raises(UnchangedError, match="interrupted"):
        preview.plan_rollback(app.tools())


def test_what_was_rolled_back_is_upgraded_again_by_name_alone(app: Machine) -> None:
    upgraded(app)
    app.roll_back()
    assert not foreseen(app, ())[0].changes
    outcome = upgraded(app, ())
    assert not outcome.changed
    assert "is held (rolled back); ashore upgrade app takes it; app stays as it is" in outcome.plan.notes[0]
    assert app.read(CONF) == "a\nb\n"
    assert upgraded(app, ("app",)).changed
    assert app.read(CONF) == "a\nc\n"


def held(host: Machine) -> list[str]:
    return [item.reference for item in host.tools().history.held().values()]


def test_what_was_held_is_forgotten_when_its_tag_was_seen_to_have_moved_on(app: Machine) -> None:
    for text in ("b", "c", "d"):
        app.images.add(ONE, {**NEXT, "etc/more": text})
        upgraded(app)
        app.roll_back()
        assert held(app) == [ONE], "what the tag names now, and no older one"
    app.images.add(ONE, {**NEXT, "etc/more": "good"})
    upgraded(app)
    assert held(app) == []


@pytest.mark.parametrize("way", ["another tag", "another tag, and back", "removed, and back", "from a file"])
def test_what_was_held_stays_so_while_its_tag_has_not_moved(app: Machine, way: str) -> None:
    upgraded(app)
    app.roll_back()
    app.images.add("reg.example/app:three", {**NEXT, "etc/more": "3"}, 'name = "app"\n')
    if way == "removed, and back":
        app.remove("app")
    elif way == "from a file":  # by the name of the tag, which nobody asked
        ask = msgspec.structs.replace(app.ask("reg.example/app:three"), written=ONE)
        elsewhere = msgspec.structs.replace(ask.reference, transport=Transport.LAYOUT, place="elsewhere")
        tools = app.tools()
        three = tools.open_image(ask.reference)
        opened = msgspec.structs.replace(tools, open_image=lambda _name: three)
        install(opened, [msgspec.structs.replace(ask, reference=elsewhere)])
        assert app.tools().history.current().bundles[0].reference == ONE
    else:
        app.install("reg.example/app:three")
    if way.endswith("back"):
        app.roll_back()
    assert ONE in held(app)


def test_a_changed_value_takes_effect_beside_a_version_that_is_held(host: Machine) -> None:
    tree: Tree = {f"{CONF}.j2": "port={{ port }} one\n"}
    host.images.add(ONE, tree, "[values]\nport = 1\n")
    host.install(ONE)
    host.images.add(ONE, {f"{CONF}.j2": "port={{ port }} two\n"}, "[values]\nport = 1\n")
    upgraded(host)
    host.roll_back()
    host.write("etc/ashore/values.d/site.toml", "port = 2\n")
    outcome = upgraded(host, ())
    assert host.read(CONF) == "port=2 one\n"
    assert "app is rendered anew from the image that is installed" in outcome.plan.notes[0]


def test_a_registry_that_is_away_is_no_reason_to_take_what_is_held(app: Machine) -> None:
    upgraded(app)
    app.roll_back()
    app.images.down = True
    with pytest.raises(AshoreError):
        upgraded(app, ())
    assert app.read(CONF) == "a\nb\n"


def test_a_value_that_nobody_takes_is_no_reason_to_be_silent_about_a_registry(app: Machine) -> None:
    app.images.down = True
    for _ in range(2):
        with pytest.raises(RegistryError):
            app.upgrade("app", sets={"nobodys": 1})


def test_a_content_that_is_gone_from_the_host_is_no_empty_file(app: Machine) -> None:
    upgraded(app)
    app.tools().content.retain(set())
    found = differences(app.tools(), *preview.plan_rollback(app.tools()))
    assert found[CONF] == "its new content is no longer on this host: it would be fetched"


def test_a_record_that_is_damaged_is_found_by_looking_as_well(app: Machine) -> None:
    upgraded(app)
    (app.root / "var/lib/ashore/generations/000001.json").write_text("{")
    with pytest.raises(ChangedError):
        preview.plan_removal(app.tools(), ["app"])


def test_repair_looks_no_further_where_something_was_interrupted(app: Machine) -> None:
    in_child(upgraded, app, 30)
    with pytest.raises(UnchangedError, match="interrupted"):
        plan_repair(app.tools(), Scope())
