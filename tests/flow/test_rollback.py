# SPDX-License-Identifier: Apache-2.0
"""Back to an earlier generation, without a network."""

import shutil
import stat

import pytest

from ashore.acts.ask.drifting import host_drift
from ashore.acts.change import install as stories
from ashore.acts.transaction.recover import recover
from ashore.errors import UnchangedError, UsageError
from ashore.nouns.generation import Verb
from tests.fakes.bundles import File
from tests.flow.machine import Machine
from tests.flow.test_kill import in_child

VERSIONS = [f"reg.example/app:{number}" for number in range(1, 7)]
OTHER = ["reg.example/other:1", "reg.example/other:2"]


@pytest.fixture
def versions(host: Machine) -> Machine:
    for number, name in enumerate(VERSIONS, 1):
        binary = File(f"binary {number}\n" * 1000, mode=0o755)
        host.images.add(name, {"etc/app.conf": f"{number}\n", f"etc/only-{number}": "x", "opt/bin/app": binary})
    for number, name in enumerate(OTHER, 1):
        host.images.add(name, {"etc/other.conf": f"{number}\n"})
    return host


def test_a_rollback_brings_back_exactly_the_generation_before(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    before = versions.tree()
    versions.install(VERSIONS[1])
    versions.images.down = True
    outcome = versions.roll_back()
    assert versions.tree() == before
    assert (outcome.generation.number, outcome.generation.verb, outcome.generation.restores) == (3, Verb.ROLLBACK, 1)
    assert versions.images.calls == 2, "a rollback asks no registry"


def test_a_second_rollback_goes_further_back_and_a_third_still_further(versions: Machine) -> None:
    trees = []
    for name in VERSIONS[:3]:
        versions.install(name)
        trees.append(versions.tree())
    versions.images.down = True
    versions.roll_back()
    assert versions.tree() == trees[1]
    versions.roll_back()
    assert versions.tree() == trees[0]
    with pytest.raises(UsageError, match="no generation before"):
        versions.roll_back()
    assert versions.tree() == trees[0]


def test_rollbacks_go_on_over_generations_that_only_noted_edits(versions: Machine) -> None:
    versions.write("etc/ashore/config.toml", "keep = 10\n")
    for name in VERSIONS[:2]:
        versions.install(name)
    for number in (1, 2, 3):
        versions.write("etc/app.conf", f"edit {number}\n")
        versions.install(VERSIONS[1])
    outcomes = [versions.roll_back() for _ in range(4)]
    assert [(o.changed, o.generation.restores) for o in outcomes] == [(True, number) for number in (4, 3, 2, 1)]
    assert versions.read("opt/bin/app").startswith("binary 1")
    with pytest.raises(UsageError, match="no generation before"):
        versions.roll_back()


def test_forward_again_after_a_rollback_and_back_leads_to_what_was_before(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    first = versions.tree()
    versions.install(VERSIONS[1])
    versions.roll_back()
    versions.install(VERSIONS[2])
    versions.roll_back()
    assert versions.tree() == first


def test_a_mode_of_the_host_comes_back_also_where_the_next_version_had_the_same(host: Machine) -> None:
    conf = host.root / "etc/app.conf"
    host.images.add(VERSIONS[0], {"etc/app.conf": File("1\n", mode=0o600)})
    host.images.add(VERSIONS[1], {"etc/app.conf": File("2\n", mode=0o640)})
    host.install(VERSIONS[0])
    conf.chmod(0o640)
    host.install(VERSIONS[1])
    host.roll_back()
    assert (conf.read_text(), stat.S_IMODE(conf.stat().st_mode)) == ("1\n", 0o640)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("left", ["removed", "without"])
def test_a_folder_comes_back_with_the_mode_that_it_had_by_hand(host: Machine, left: str, again: bool) -> None:
    host.images.add(VERSIONS[0], {"opt/app/data/x": "x", "opt/app/lib/x": "x"})
    host.images.add(VERSIONS[1], {"etc/app.conf": "2\n"})
    host.install(VERSIONS[0])
    (host.root / "opt/app/data").chmod(0o700)
    before = host.tree()
    for _ in range(1 + again):
        stories.remove(host.tools(), ["app"]) if left == "removed" else host.install(VERSIONS[1])
        assert not (host.root / "opt/app").exists()
        host.roll_back()
        assert host.tree() == before
    assert not host.install(VERSIONS[0]).changed
    drift = host_drift(host.tools(), host.tools().history.current())
    assert [(d.path, d.verdict) for d in drift] == [("opt/app/data", "attributes")], "and is still told of"


def test_a_rollback_to_a_number(versions: Machine) -> None:
    trees = trees_of(versions, 3)
    versions.images.down = True
    versions.roll_back(to=1)
    assert versions.tree() == trees[1]
    versions.roll_back(to=3)
    assert versions.tree() == trees[3], "also forward, to a generation that was left"


def test_a_number_that_is_not_kept_is_refused_with_those_that_are(versions: Machine) -> None:
    for name in VERSIONS[:5]:
        versions.install(name)
    before = versions.tree()
    for number in (1, 99):
        with pytest.raises(UsageError) as raised:
            versions.roll_back(to=number)
        assert "5" in raised.value.remedy
    assert versions.tree() == before


def test_three_generations_are_kept_and_their_contents_with_them(versions: Machine) -> None:
    trees = trees_of(versions, 6)
    assert versions.tools().history.numbers() == [4, 5, 6]
    versions.images.down = True
    versions.roll_back(to=4)
    assert versions.tree() == trees[4]


def test_generations_that_only_noted_an_edit_do_not_push_out_the_version_before(versions: Machine) -> None:
    for name in VERSIONS[:2]:
        versions.install(name)
    for number in range(6):
        versions.write("etc/app.conf", f"edit {number}\n")
        versions.install(VERSIONS[1])
    assert versions.tools().history.numbers() == [1, 2, 6, 7, 8]
    versions.images.down = True
    versions.roll_back(to=1)
    assert versions.read("opt/bin/app").startswith("binary 1")


def test_the_owner_of_the_host_says_how_many_generations_are_kept(versions: Machine) -> None:
    versions.write("etc/ashore/config.toml", "keep = 1\n")
    for name in VERSIONS[:3]:
        versions.install(name)
    assert versions.tools().history.numbers() == [3]
    with pytest.raises(UsageError):
        versions.roll_back()


def test_one_bundle_goes_back_and_the_others_stay(versions: Machine) -> None:
    versions.install(VERSIONS[0], OTHER[0])
    versions.install(VERSIONS[1])
    versions.install(OTHER[1])
    versions.images.down = True
    versions.roll_back(bundle="app")
    assert versions.read("etc/app.conf") == "1\n"
    assert versions.read("etc/other.conf") == "2\n"


def test_one_bundle_goes_back_twice(versions: Machine) -> None:
    for name in VERSIONS[:3]:
        versions.install(name)
    versions.roll_back(bundle="app")
    assert versions.read("etc/app.conf") == "2\n"
    versions.roll_back(bundle="app")
    assert versions.read("etc/app.conf") == "1\n"


def test_one_bundle_that_was_not_there_before_goes(versions: Machine) -> None:
    versions.install(OTHER[0])
    before = versions.tree()
    versions.install(VERSIONS[0])
    versions.roll_back(bundle="app")
    assert versions.tree() == before


def test_a_bundle_that_is_not_installed_cannot_go_back(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    with pytest.raises(UsageError, match="nothing"):
        versions.roll_back(bundle="nothing")


def test_an_empty_host_has_nothing_to_go_back_to(host: Machine) -> None:
    before = host.tree()
    with pytest.raises(UsageError):
        host.roll_back()
    assert host.tree() == before


def test_a_removal_is_taken_back(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    before = versions.tree()
    versions.remove("app")
    versions.images.down = True
    versions.roll_back()
    assert versions.tree() == before


def test_what_a_rollback_leaves_behind_is_held_until_somebody_asks_for_it(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    bad = versions.install(VERSIONS[1]).generation.bundles[0].digest
    versions.roll_back()
    held = versions.tools().history.held()
    assert (list(held), held[bad].reason, held[bad].bundle) == ([bad], "rolled back", "app")
    versions.install(VERSIONS[1])
    assert versions.tools().history.held() == {}


def test_a_kill_at_the_end_of_a_rollback_does_not_lose_what_is_held(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    bad = versions.install(VERSIONS[1]).generation.bundles[0].digest

    def story(host: Machine) -> object:
        return host.roll_back()

    def fresh(name: str) -> Machine:
        shutil.copytree(versions.root, versions.folder / name / "host", symlinks=True)
        return Machine(versions.folder / name, versions.images)

    total = in_child(story, fresh("whole"), stop_at=-1)
    went_back = 0
    for at in range(total - 40, total):
        victim = fresh(str(at))
        in_child(story, victim, stop_at=at)
        tools = victim.tools()
        with tools.state.locked():
            recover(tools)
        assert (list(tools.history.held()) == [bad]) == (tools.history.current_number() == 3), f"call {at} of {total}"
        went_back += tools.history.current_number() == 3
    assert 0 < went_back < 40


def trees_of(host: Machine, count: int) -> dict[int, object]:
    """Install the first versions in turn; what lay there after each."""
    trees: dict[int, object] = {}
    for name in VERSIONS[:count]:
        number = host.install(name).generation.number
        trees[number] = host.tree()
    return trees


def test_a_content_that_was_damaged_in_the_store_is_fetched_again(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    first = versions.tree()
    versions.install(VERSIONS[1])
    second = versions.tree()
    for file in (versions.root / "var/lib/ashore/content").rglob("*"):
        if file.is_file():
            file.write_bytes(b"bit rot")
    versions.images.down = True
    with pytest.raises(UnchangedError, match="nowhere to be had"):
        versions.roll_back()
    assert versions.tree() == second
    assert versions.leftovers() == []
    versions.images.down = False
    versions.roll_back()
    assert versions.tree() == first


def test_damaged_contents_in_the_store_are_found_elsewhere_in_the_same_run(versions: Machine) -> None:
    versions.install(VERSIONS[0])
    first = versions.tree()
    versions.install(VERSIONS[1])
    for file in (versions.root / "var/lib/ashore/content").rglob("*"):
        if file.is_file():
            file.write_bytes(b"bit rot")
    versions.roll_back()
    assert versions.tree() == first
    assert versions.leftovers() == []


@pytest.mark.parametrize("away", ["remove", "upgrade"])
def test_back_to_a_folder_where_a_file_of_the_host_was_before_and_is_again(host: Machine, away: str) -> None:
    host.write("opt/x", "the host's")
    adopt = '[[files]]\npath = "opt/x"\nadopt = true\n'
    host.images.add("reg.example/app:1", {"opt/x": "ours"}, adopt)
    host.images.add("reg.example/app:2", {"opt/x/y": "ours"})
    host.images.add("reg.example/app:3", {"opt/z": "ours"})
    host.install("reg.example/app:1")
    host.install("reg.example/app:2")
    if away == "remove":
        host.remove("app")
    else:
        host.install("reg.example/app:3")
    assert host.read("opt/x") == "the host's"
    host.roll_back()
    assert host.read("opt/x/y") == "ours"
    host.roll_back()
    assert host.read("opt/x") == "ours"
    host.remove("app")
    assert host.read("opt/x") == "the host's"
