# SPDX-License-Identifier: Apache-2.0
"""Who only asks takes no lock: what a change beside it takes away or ends is neither damaged nor interrupted."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ashore.acts.ask import drifting
from ashore.acts.ask.look import diff, owns, status
from ashore.acts.change.pending import pending
from ashore.acts.change.preview import plan_install
from ashore.acts.tools import Tools
from ashore.cli.status import status_text
from ashore.errors import BusyError, ChangedError, UnchangedError
from ashore.mechanisms import durable
from ashore.mechanisms.state import journal as journals
from ashore.mechanisms.state import state as states
from ashore.nouns.digest import hex_of
from ashore.nouns.generation import Generation
from ashore.rules.files.drift import Drift
from tests.flow.machine import Machine

ONE, TWO, OTHER = "reg.example/app:1", "reg.example/app:2", "reg.example/other:1"
STATE = "var/lib/ashore"


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.images.add(ONE, {"opt/app": "one\n", "etc/app.conf": "one\n"})
    made.images.add(TWO, {"opt/app": "two\n", "etc/app.conf": "two\n"})
    made.images.add(OTHER, {"opt/other": "x\n"})
    made.write("etc/ashore/config.toml", "keep = 1\n")
    made.install(ONE)
    return made


def before(patch: pytest.MonkeyPatch, module: object, name: str, what: Callable[[], object], when: str = "") -> None:
    """Do `what` before the first call of a function that has `when` among its arguments."""
    real, waiting = getattr(module, name), [what]

    def call(*arguments: object, **named: object) -> object:
        if waiting and any(when in str(argument) for argument in arguments):
            waiting.pop()()
        return real(*arguments, **named)

    patch.setattr(module, name, call)


ASK: dict[str, Callable[[Tools], object]] = {
    "status": status,
    "diff": diff,
    "pending": pending,
    "owns": lambda tools: owns(tools, "/opt/app"),
    "history": lambda tools: list(tools.history.all()),
}


@pytest.mark.parametrize("name", ASK)
def test_a_generation_that_goes_meanwhile_is_not_missed(
    host: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before(monkeypatch, durable, "read_all", lambda: host.install(TWO), when="000001.json")
    ASK[name](host.tools())
    assert host.tools().history.numbers() == [2]


def test_the_first_generation_that_comes_meanwhile_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Machine(tmp_path)
    host.images.add(ONE, {"opt/app": "one\n"})
    tools = host.tools()
    tools.state.prepare()
    before(monkeypatch, os, "listdir", lambda: host.install(ONE))  # after it looked for the pointer
    assert tools.history.current().number == 1


@pytest.mark.parametrize("name", ASK)
def test_damage_is_told(host: Machine, name: str) -> None:
    path = host.root / STATE / "generations/000001.json"
    path.write_bytes(path.read_bytes().replace(b"app", b"apq"))
    with pytest.raises(ChangedError, match="damaged"):
        ASK[name](host.tools())
    path.unlink()
    if name != "history":
        with pytest.raises(ChangedError, match="damaged"):
            ASK[name](host.tools())


def test_a_content_that_goes_meanwhile_is_not_counted(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = host.tools()
    (digest, size), *others = tools.content.digests()
    before(monkeypatch, os, "stat", lambda: tools.content.discard(digest), when=hex_of(digest))
    assert size and status(host.tools()).disk == sum(size for _, size in others)


def interrupt(host: Machine) -> Path:
    journal = host.root / STATE / "journal"
    journal.mkdir()
    return journal


def test_a_change_that_ends_meanwhile_was_not_interrupted(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = interrupt(host)
    before(monkeypatch, states, "_lock", lambda: shutil.rmtree(journal))
    assert not status(host.tools()).interrupted
    journal = interrupt(host)
    before(monkeypatch, states, "_lock", lambda: shutil.rmtree(journal))
    plan, _ = plan_install(host.tools(), [host.ask(OTHER)])
    assert [step.path for step in plan.steps] == ["opt/other"]


def test_a_change_that_was_interrupted_is_told(host: Machine) -> None:
    interrupt(host)
    assert status(host.tools()).interrupted
    with pytest.raises(UnchangedError, match="interrupted"):
        plan_install(host.tools(), [host.ask(OTHER)])


def test_a_change_that_is_being_made_is_not_an_interrupted_one(host: Machine) -> None:
    interrupt(host)
    with host.tools().state.locked():
        assert not status(host.tools()).interrupted
        with pytest.raises(BusyError):
            plan_install(host.tools(), [host.ask(OTHER)])


@pytest.mark.parametrize("back", [False, True], ids=["it is kept", "it goes back"])
def test_what_a_change_at_work_touches_is_no_drift(host: Machine, monkeypatch: pytest.MonkeyPatch, back: bool) -> None:
    host.install(OTHER)
    host.write("opt/other", "edited\n")
    seen: list[tuple[str, bool, list[str], list[str]]] = []

    def look() -> None:
        assert host.read("etc/app.conf") == "two\n"
        found = status(host.tools())
        assert "a change is at work (install): what it touches is not compared" in status_text(found)
        differing = [item.path for item, _ in diff(host.tools())]
        seen.append((found.at_work, found.interrupted, [item.path for item in found.drift], differing))
        if back:
            raise OSError(5, "Input/output error")

    before(monkeypatch, journals, "verdict", look)
    with pytest.raises(UnchangedError) if back else contextlib.nullcontext():
        host.install(TWO)
    assert seen == [("install", False, ["opt/other"], ["opt/other"])]
    found = status(host.tools())
    assert (found.at_work, [item.path for item in found.drift]) == ("", ["opt/other"])


def test_where_a_change_ends_while_somebody_looks_it_is_looked_at_once_more(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looked = drifting.host_drift, list[int]()

    def beside(tools: Tools, generation: Generation, *, verify: bool = False) -> tuple[Drift, ...]:
        looked.append(generation.number)
        if len(looked) == 1:
            host.install(TWO)
        return real(tools, generation, verify=verify)

    monkeypatch.setattr(drifting, "host_drift", beside)
    found = status(host.tools())
    assert (looked, found.generation.number, found.drift) == ([1, 2], 2, ())


def test_a_generation_that_somebody_wrote_over_by_another_is_looked_at_once(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is not that of its name then, and no later look would find it so either."""
    host.write("etc/ashore/config.toml", "keep = 2\n")
    host.install(TWO)
    generations = host.root / STATE / "generations"
    shutil.copy(generations / "000001.json", generations / "000002.json")
    looks = iter([()])
    monkeypatch.setattr(drifting, "host_drift", lambda *_, **__: next(looks))
    assert status(host.tools()).generation.number == 1


def test_who_only_asks_is_not_at_work(host: Machine) -> None:
    """Where two ask at once, what was interrupted is told to both."""
    interrupt(host)
    seen = list[tuple[str, bool]]()

    def ask() -> bool:
        found = status(host.tools())
        seen.append((found.at_work, found.interrupted))
        return True

    host.tools().state.at_rest(ask)
    assert seen == [("", True)]
