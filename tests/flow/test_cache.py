# SPDX-License-Identifier: Apache-2.0
"""What `plan` kept is taken for the install that follows only if it is still what was fetched."""

from pathlib import Path

import pytest

from ashore.acts.change import install as stories
from tests.flow.machine import Machine

IMAGE = "reg.example/team/app:1"
TREE = {"etc/app.conf.j2": "name={{ facts.hostname }}\n", "opt/app": "x" * 5000}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.images.add(IMAGE, TREE)
    stories.plan_install(made.tools(), [made.ask(IMAGE)])
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
    plan, _ = stories.plan_install(machine.tools(), [machine.ask(IMAGE)])
    assert "etc/app.conf" in {step.path for step in plan.steps}
    assert file.read_bytes() == right


def test_another_changed_content_is_fetched_again(machine: Machine) -> None:
    file = kept(machine, "xxx")
    file.write_bytes(b"?" + file.read_bytes()[1:])
    machine.install(IMAGE)
    assert machine.read("opt/app") == "x" * 5000
    assert machine.leftovers() == []
