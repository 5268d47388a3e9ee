# SPDX-License-Identifier: Apache-2.0
"""What fails after a change was found healthy, but within its time, takes the change back; nothing else does."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from ashore.acts.ask.look import status
from ashore.acts.boot import watching as watch
from ashore.acts.boot.watching import watch_on
from ashore.acts.change import install as stories
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.repair import Scope, repair
from ashore.cli.status import status_text
from ashore.errors import UnitsFailedError
from ashore.nouns.bundle import Health
from ashore.nouns.late import Late
from ashore.nouns.units import JobResult, UnitAction
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine
from tests.flow.test_kill import Story, in_child, kill_and_recover

ONE, TWO, THREE, OTHER = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3", "reg.example/other:1"
UNIT = "# {}\n[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
SERVICE = "etc/systemd/system/app.service"
TOML = '[[health]]\nunit = "app.service"\nsettle = "1s"\nwithin = "20s"\n'
RECORD = "run/ashore/late.json"


@pytest.fixture
def live(tmp_path: Path) -> Machine:
    return prepared(tmp_path)


def prepared(folder: Path) -> Machine:
    """A live host with the first version, long since well, for which there are others."""
    systemd = FakeSystemd()
    for name in ("app.service", "other.service", "ashore-unconfirmed.timer"):
        systemd.add(name)
    made = Machine(folder, systemd=systemd)
    for number, name in enumerate((ONE, TWO, THREE), 1):
        made.images.add(name, {SERVICE: UNIT.format(number), f"etc/app/{number}": "x"}, TOML)
    made.images.add(OTHER, {"etc/other": "x"})
    made.install(ONE)
    made.seconds += 1000
    return made


def fake(live: Machine) -> FakeSystemd:
    assert isinstance(live.systemd, FakeSystemd)
    return live.systemd


def watched(live: Machine) -> Late | None:
    return status(live.tools()).late


def watching(
    live: Machine, at: dict[float, Callable[[], object]], probe: Callable[[Health, float], str] = lambda *_: ""
) -> Outcome | None:
    """The service of PID 1 does its work, and something happens so many seconds after it began."""
    (*_, argv) = fake(live).services.values()
    tools, began = live.tools(), live.seconds

    def sleep(seconds: float) -> None:
        live.seconds += seconds
        for when in sorted(at):
            if live.seconds - began >= when:
                at.pop(when)()

    assert argv[:-1] == (*tools.program, "watch")
    return watch_on(msgspec.structs.replace(tools, sleep=sleep), argv[-1], probe=probe)


def fails(live: Machine, **state: object) -> Callable[[], object]:
    unit = fake(live).units["app.service"]
    changes = {"active": "failed", "sub": "failed", "result": "exit-code"} | state
    return lambda: unit.__dict__.update(changes)


def test_what_dies_late_goes_back_by_itself_and_is_held(live: Machine) -> None:
    before = live.tree()
    assert live.install(TWO).generation.number == 2
    said = status_text(status(live.tools()))
    assert "watched until 2026-01-01T00:00:1" in said and "goes back if what it started fails" in said
    outcome = watching(live, {7: fails(live)})
    assert outcome is not None and outcome.generation.number == 3
    assert live.tree() == before and not live.exists(RECORD)
    assert fake(live).units["app.service"].active == "active", "it runs again, with its old files"
    (held,) = live.tools().history.held().values()
    assert held.reference == TWO
    assert held.reason.startswith("failed late: app.service: failed (exit-code), 8 s after the start")
    assert "came by itself: failed late: app.service" in status_text(status(live.tools()))
    generation = live.tools().history.current()
    assert generation.taken_back and generation.why == held.reason and generation.restores == 1
    assert watched(live) is None, "the way back is not watched"


def test_what_stays_well_is_watched_until_its_time_is_over(live: Machine) -> None:
    live.install(TWO)
    began = live.seconds
    assert watching(live, {}) is None
    assert 18 <= live.seconds - began <= 20
    assert live.tools().history.current_number() == 2
    assert watched(live) is None and not live.exists(RECORD)


def test_a_first_install_that_dies_late_leaves_nothing(tmp_path: Path) -> None:
    template = prepared(tmp_path)
    fresh = Machine(tmp_path / "fresh", template.images, template.systemd)
    before = fresh.tree()
    fresh.install(ONE)
    outcome = watching(fresh, {3: fails(fresh)})
    assert outcome is not None and not outcome.generation.bundles
    assert fresh.tree() == before


def test_a_unit_that_no_health_is_declared_for_is_watched_as_long_as_by_default(live: Machine) -> None:
    live.images.add(TWO, {SERVICE: UNIT.format(2)})
    live.install(TWO)
    assert watching(live, {80: fails(live)}) is not None


def test_a_probe_that_does_not_answer_any_more_goes_back_and_one_bad_answer_does_not(live: Machine) -> None:
    live.install(TWO)
    answers = iter(["", "refused", "", "", "refused", "refused", "refused", "refused", "refused"])
    outcome = watching(live, {}, probe=lambda *_: next(answers))
    assert outcome is not None and list(answers) == [], "the last look is with the lock"


def test_the_next_change_ends_the_watch_and_has_one_of_its_own(live: Machine) -> None:
    live.install(TWO)
    first = watched(live)
    assert watching(live, {3: lambda: live.install(THREE), 4: fails(live)}) is None
    second = watched(live)
    assert first is not None and second is not None and second.transaction != first.transaction
    assert live.tools().history.current_number() == 3
    outcome = watching(live, {0.5: fails(live)})
    assert outcome is not None and outcome.generation.restores == 2


def test_a_failure_seen_while_another_change_is_at_work_is_not_judged(live: Machine) -> None:
    """It stops units, and may yet go back: what is there afterwards counts."""
    live.install(TWO)
    lock = live.tools().state.locked()
    well = fails(live, active="active", sub="running", result="success")

    def begins() -> None:
        lock.__enter__()
        fails(live)()

    def ends() -> None:
        well()
        lock.__exit__(None, None, None)

    assert watching(live, {3: begins, 6: ends}) is None
    assert live.tools().history.current_number() == 2


def test_a_failure_of_what_another_change_has_replaced_meanwhile_takes_nothing_back(live: Machine) -> None:
    """It was seen just before the other one came, and is judged with the lock after that."""
    live.install(TWO)
    answers = iter(["refused"] * 3)

    def probe(_health: Health, _seconds: float) -> str:
        said = next(answers, None)
        if said is None and live.tools().history.current_number() == 2:
            live.install(THREE)
        return "refused"

    assert watching(live, {}, probe=probe) is None
    assert live.tools().history.current_number() == 3


def test_what_another_change_took_down_and_brought_back_has_not_failed(live: Machine) -> None:
    """It was seen ill without the lock, and is well again with it."""
    live.install(TWO)
    answers = iter(["", *["refused"] * 4])
    assert watching(live, {}, probe=lambda *_: next(answers, "")) is None
    assert live.tools().history.current_number() == 2


def goes_back_by_itself(live: Machine) -> None:
    """Another change comes, and fails: what it restarted, PID 1 has restarted once by then."""
    fake(live).add("bad.service", Behaviour.FAILS)
    live.images.add(THREE, {SERVICE: UNIT.format(3), SERVICE.replace("app", "bad"): UNIT.format(3)})
    run = fake(live).run

    def restarts(actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        results = run(actions, deadline)
        fake(live).units["app.service"].restarts += 1
        return results

    fake(live).run = restarts  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError):
        live.install(THREE)
    fake(live).run = run  # type: ignore[method-assign]


def test_what_a_change_that_went_back_has_brought_up_again_gets_its_time_to_answer(live: Machine) -> None:
    live.install(TWO)
    began = live.seconds

    def probe(_health: Health, _seconds: float) -> str:
        return "refused" if 1 <= live.seconds - began <= 6 else ""

    assert watching(live, {4: lambda: goes_back_by_itself(live)}, probe=probe) is None
    assert live.tools().history.current_number() == 2


def test_a_change_that_goes_back_just_before_the_lock_is_taken_makes_nothing_ill(live: Machine) -> None:
    live.install(TWO)
    well_from = [float("inf")]
    asked = iter(range(100))

    def probe(_health: Health, _seconds: float) -> str:
        if next(asked) == 3:
            goes_back_by_itself(live)
            well_from[0] = live.seconds + 2
        return "refused" if live.seconds <= well_from[0] else ""

    assert watching(live, {}, probe=probe) is None
    assert live.tools().history.current_number() == 2


def test_what_fails_after_another_change_went_back_goes_back_all_the_same(live: Machine) -> None:
    before = live.tree()
    live.install(TWO)
    outcome = watching(live, {3: lambda: goes_back_by_itself(live), 8: fails(live)})
    assert outcome is not None and "failed (exit-code)" in outcome.generation.why
    assert live.tree() == before


def test_the_watch_of_a_change_ends_with_the_next_one(live: Machine) -> None:
    live.install(TWO)
    live.install(THREE)
    assert list(fake(live).services) == [f"ashore-watch-{live.tools().history.current().transaction}.service"]
    live.remove("app")
    assert not fake(live).services


def test_who_goes_back_or_repairs_is_not_watched(live: Machine) -> None:
    live.install(TWO)
    live.roll_back()
    assert watched(live) is None and not live.exists(RECORD)
    live.write(SERVICE, "# edited\n")
    repair(live.tools(), Scope())
    assert watched(live) is None


def test_a_change_that_starts_nothing_is_not_watched(live: Machine) -> None:
    live.install(OTHER)
    assert watched(live) is None


def test_a_boot_ends_the_watch_and_the_change_stays(live: Machine) -> None:
    live.install(TWO)
    live.boot = "boot-2"
    assert watched(live) is None
    assert watching(live, {1: fails(live)}) is None
    assert live.tools().history.current_number() == 2


def test_the_generation_before_is_kept_as_long_as_it_may_be_needed(live: Machine) -> None:
    before = live.tree()
    live.write("etc/ashore/config.toml", "keep = 1\n")
    live.install(TWO)
    assert 1 in live.tools().history.numbers()
    assert watching(live, {1: fails(live)}) is not None
    (live.root / "etc/ashore/config.toml").unlink()
    (live.root / "etc/ashore").rmdir()
    assert live.tree() == before


def test_what_waits_for_confirmation_as_well_goes_back_when_it_fails(live: Machine) -> None:
    live.install(TWO, confirm=300)
    assert watching(live, {1: fails(live)}) is not None
    assert live.tools().history.provisional() is None


def test_a_way_back_that_is_not_there_now_is_tried_again(live: Machine) -> None:
    live.install(TWO)

    def broken() -> None:
        shutil.rmtree(live.root / "var/lib/ashore/content/sha256")
        live.images.down = True
        fails(live)()

    def mended() -> None:
        live.images.down = False

    assert watching(live, {1: broken, 40: mended}) is not None


def test_a_fault_that_nobody_foresaw_is_told_and_does_not_keep_what_failed(
    live: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.install(TWO)
    told: list[str] = []

    def faulty(*arguments: object, **named: object) -> object:
        if told:
            return stories.change(*arguments, **named)  # type: ignore[arg-type]
        raise ValueError("not a digest: ''")

    def asked() -> None:
        told.append(status_text(status(live.tools())))

    monkeypatch.setattr(watch, "change", faulty)
    assert watching(live, {1: fails(live), 10: asked}) is not None
    (text,) = told
    assert "it failed, and it could not be taken back: failed late: app.service" in text
    assert "ValueError: not a digest: ''" in text
    assert status(live.tools()).stuck == ""


def test_a_fifo_that_the_change_moved_aside_does_not_keep_what_failed(live: Machine) -> None:
    toml = TOML + '[[files]]\npath = "etc/app/x"\non_edit = "replace"\n'
    for number, name in ((3, THREE), (4, "reg.example/app:4")):
        live.images.add(name, {SERVICE: UNIT.format(number), "etc/app/x": f"{number}\n"}, toml)
    live.install(THREE)
    live.seconds += 1000
    (live.root / "etc/app/x").unlink()
    os.mkfifo(live.root / "etc/app/x")
    live.install("reg.example/app:4")
    assert watching(live, {1: fails(live)}) is not None
    assert live.read("etc/app/x") == "3\n"


def test_what_stands_in_the_way_does_not_keep_what_failed(live: Machine) -> None:
    before = live.tree()
    live.install(TWO)

    def failing() -> None:
        live.write("etc/app/1", "by a program\n")
        live.write("etc/ashore/config.toml", "keep = [\n")
        fails(live)()

    assert watching(live, {1: failing}) is not None
    shutil.rmtree(live.root / "etc/ashore")
    assert live.tree() == before
    assert "etc/app/1" in live.tools().history.current().displaced


def test_an_offline_root_is_not_watched(host: Machine) -> None:
    host.images.add(ONE, {SERVICE: UNIT.format(1)}, TOML)
    host.install(ONE)
    assert not host.exists("run/ashore")


def test_nothing_secret_and_nothing_durable_is_in_the_record(live: Machine) -> None:
    live.install(TWO)
    assert (live.root / RECORD).stat().st_mode & 0o777 == 0o600
    assert json.loads(live.read(RECORD))["generation"] == 2
    assert not list((live.root / "var/lib/ashore").glob("late*"))


def change_two(machine: Machine) -> object:
    return machine.install(TWO)


def goes_back(machine: Machine) -> object:
    return watching(machine, {1: fails(machine)})


@pytest.mark.slow
@pytest.mark.parametrize("story", [change_two, goes_back])
def test_killed_at_any_call_the_old_or_the_new_generation_holds_and_the_new_one_is_watched(
    story: Story, quick_folder: Path
) -> None:
    """A kill between the verdict and the watch included: recovery has it begin."""

    def fresh(number: int) -> Machine:
        made = prepared(quick_folder / str(number))
        if story is goes_back:
            made.install(TWO)
        return made

    old, whole = fresh(-1), fresh(-2)
    total = in_child(story, whole, stop_at=-1)
    states = [old.tree(), whole.tree()]
    seen = set()
    for at in range(total):
        victim = fresh(at)
        kill_and_recover(story, victim, at)
        assert victim.leftovers() == []
        state = states.index(victim.tree())
        seen.add(state)
        if story is change_two:
            late = watched(victim)
            assert (late is not None) == bool(state), f"killed before call {at} of {total}"
        elif not state:
            assert watched(victim) is not None, f"killed before call {at} of {total}: nobody watches any more"
        shutil.rmtree(victim.folder)
    assert seen == {0, 1}
