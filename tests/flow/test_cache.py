# SPDX-License-Identifier: Apache-2.0
"""What `plan` kept is taken for the install that follows only if it is still what was fetched."""

import errno
import os
from pathlib import Path

import pytest

from ashore.acts.author.inspect import inspect
from ashore.acts.change import preview
from ashore.errors import UnchangedError
from ashore.mechanisms import durable
from ashore.mechanisms.images.cache import Cache
from ashore.nouns import reference
from ashore.nouns.digest import of
from tests.flow.machine import Machine

IMAGE = "reg.example/team/app:1"
TREE = {"etc/app.conf.j2": "name={{ facts.hostname }}\n", "opt/app": "x" * 5000}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.images.add(IMAGE, TREE)
    preview.plan_install(made.tools(), [made.ask(IMAGE)])
    return made


def kept(machine: Machine, text: str) -> Path:
    """The cached content that begins with `text`."""
    (found,) = [
        file
        for file in machine.folder.glob("cache/*/*")
        if file.name != "tree.json" and file.read_text().startswith(text)
    ]
    return found


@pytest.mark.parametrize("text", ["name=", "xxx"])
@pytest.mark.parametrize("left", [0, 3])
def test_what_a_power_cut_shortened_is_fetched_again(machine: Machine, text: str, left: int) -> None:
    file = kept(machine, text)
    file.write_bytes(file.read_bytes()[:left])
    machine.install(IMAGE)
    assert machine.read("etc/app.conf") == "name=node-1\n"
    assert machine.read("opt/app") == "x" * 5000


def test_a_changed_text_that_rules_read_is_fetched_again(machine: Machine) -> None:
    file = kept(machine, "name=")
    file.write_bytes(b"?" + file.read_bytes()[1:])
    machine.install(IMAGE)
    assert machine.read("etc/app.conf") == "name=node-1\n"
    assert machine.leftovers() == []


def test_a_plan_replaces_a_changed_text_in_the_cache(machine: Machine) -> None:
    file = kept(machine, "name=")
    right = file.read_bytes()
    file.write_bytes(b"?" + right[1:])
    plan, _ = preview.plan_install(machine.tools(), [machine.ask(IMAGE)])
    assert "etc/app.conf" in {step.path for step in plan.steps}
    assert file.read_bytes() == right


def test_another_changed_content_is_fetched_again(machine: Machine) -> None:
    file = kept(machine, "xxx")
    file.write_bytes(b"?" + file.read_bytes()[1:])
    machine.install(IMAGE)
    assert machine.read("opt/app") == "x" * 5000
    assert machine.leftovers() == []


def others(machine: Machine, count: int) -> None:
    """Other runs fetch that many images, one after the other."""
    for number in range(count):
        other = Cache(machine.cache.path)
        other.sink(f"other{number}").create("a", 1).commit(of(b"a"), 1)
        other.close()


def test_what_a_run_fills_is_not_taken_away_by_others(machine: Machine) -> None:
    filling = Cache(machine.cache.path)
    file = filling.sink("slow").create("a", 3)
    others(machine, 5)
    file.write(b"all")
    file.commit(of(b"all"), 3)
    assert of(b"all") in filling.kept("slow")
    filling.close()
    others(machine, 5)
    assert not os.path.exists(f"{machine.cache.path}/slow"), "its run has ended"


def test_what_a_run_reads_is_not_taken_away_by_others(machine: Machine) -> None:
    tools = machine.tools()
    _, supply = preview.plan_install(tools, [machine.ask(IMAGE)])
    others(machine, 5)
    assert supply.read(of(b"x" * 5000), 5000) == b"x" * 5000


def test_an_install_leaves_what_another_run_uses(machine: Machine) -> None:
    (key,) = os.listdir(machine.cache.path)
    other = Cache(machine.cache.path)
    assert other.tree(key)
    machine.install(IMAGE)
    assert other.open(key, of(b"x" * 5000)) is not None
    other.close()


def test_a_folder_that_was_taken_away_while_one_waits_is_made_again(machine: Machine) -> None:
    used = Cache(machine.cache.path)
    used.sink("one")
    Cache(machine.cache.path).clear()
    file = used.sink("one").create("a", 1)
    file.write(b"a")
    file.commit(of(b"a"), 1)
    assert of(b"a") in used.kept("one")
    used.close()


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("cache", ["a-file", "full", "full at the end"])
@pytest.mark.parametrize("verb", ["plan", "inspect"])
def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, verb: str
) -> None:
    host = Machine(tmp_path)
    host.images.add(IMAGE, TREE)
    before = host.tree()
    if cache == "a-file":
        (tmp_path / "cache").write_text("no folder")
    elif cache == "full":
        monkeypatch.setattr(durable, "write_all", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnchangedError, match=r"cannot keep what is fetched in .*/cache: ") as refused:
        if verb == "plan":
            preview.plan_install(host.tools(), [host.ask(IMAGE)])
        else:
            inspect(host.tools(), reference.parse(IMAGE))
    assert "ASHORE_CACHE=" in refused.value.remedy
    assert host.tree() == before
    monkeypatch.undo()
    assert host.install(IMAGE).changed
