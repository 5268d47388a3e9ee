# SPDX-License-Identifier: Apache-2.0
"""Damaged state: never a wrong apply, never a traceback, never a host that is taken for a fresh one."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.acts.ask.look import status
from ashore.errors import AshoreError
from tests.hostile.images.host import quick_folder
from tests.hostile.state.damage import (
    STATE,
    Situation,
    every_byte,
    files,
    flips,
    interrupted,
    look,
    prepared,
    settled,
    tries,
    truncations,
)

KINDS = ("settled", "begun", "staged, half swapped", "judged")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="module")
def situations(folder: Path) -> dict[str, Situation]:
    return {"settled": settled(folder), **interrupted(folder / "interrupted")}


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_they_do_what_they_are_asked(kind: str, situations: dict[str, Situation], folder: Path) -> None:
    situation = situations[kind]
    for name, story in situation.stories.items():
        machine = situation.make(folder / f"whole {kind} {name}")
        story(machine)
        assert look(machine) in situation.ends[name], name


def test_the_state_has_every_kind_of_file(situations: dict[str, Situation], folder: Path) -> None:
    kinds = {file.split("/")[0] for k, s in situations.items() for file in files(s.make(folder / f"files {k}"))}
    assert kinds >= {
        "current", "generations", "journal", "held.json", "edits.json", "due.json", "salt", "secrets",
        "audit.jsonl", "content", "follow.json", "provisional.json",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_off_or_gone(kind: str, situations: dict[str, Situation], folder: Path) -> None:
    situation, wrong = situations[kind], []
    template = situation.make(folder / f"cut {kind}")
    every = files(template)
    contents = [file for file in every if file.startswith("content/")]
    for file in (name for name in every if name not in contents[2:]):
        for damage in truncations(template, file, most=3):
            for name in situation.stories:
                wrong += tries(situation, name, damage, folder / "victim")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("kind", "file"), [("settled", "generations/000004.json"), ("judged", "journal/2-staged.json")]
)
def test_cut_off_at_every_byte(kind: str, file: str, situations: dict[str, Situation], folder: Path) -> None:
    machine = situations[kind].make(folder / f"every {kind}")
    wrong = [problem for problems in every_byte(machine, file) for problem in problems]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits(kind: str, situations: dict[str, Situation], folder: Path) -> None:
    situation, chance, wrong = situations[kind], random.Random(os.environ.get("ASHORE_SEED", "1")), []
    for damage in flips(situation.make(folder / f"flip {kind}"), chance, 40):
        wrong += tries(situation, chance.choice(sorted(situation.stories)), damage, folder / "victim")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "gone",
    [("current",), ("generations",), ("current", "generations"), ("current", "generations", "content", "held.json")],
)
def test_no_state_with_signs_of_one_is_no_fresh_host(gone: tuple[str, ...], folder: Path) -> None:
    machine = prepared(folder / "-".join(gone))
    before = look(machine)
    for name in gone:
        path = machine.root / STATE / name
        path.rename(folder / f"{'-'.join(gone)}.{name}.moved")
    for story in (lambda: machine.install("reg.example/all:4"), lambda: status(machine.tools()), machine.roll_back):
        with pytest.raises(AshoreError, match="damaged"):
            story()
    assert look(machine) == before
