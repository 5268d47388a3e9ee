# SPDX-License-Identifier: Apache-2.0
"""Steps of bundles in a change: in order, told in the audit log, undone where everything goes back."""

import contextlib
import json
import os
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from ashore.acts.change import preview
from ashore.acts.transaction.recover import recover
from ashore.errors import ChangedError, UnitsFailedError
from ashore.nouns.units import JobResult, UnitAction
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.flow.machine import Machine

ONE, TWO = "reg.example/worker:1", "reg.example/worker:2"
SERVICE = "etc/systemd/system/kubelet.service"
UNIT = "[Service]\nExecStart=/opt/bin/kubelet\n[Install]\nWantedBy=multi-user.target\n"
STEPS = """
version = "{version}"
[[step]]
name = "drain"
phase = "before"
command = ["kubectl", "drain"]
reason = "pods move first"
within = "5m"
[[step]]
name = "drain"
phase = "undo"
command = ["kubectl", "uncordon"]
reason = "pods may come again"
[[step]]
name = "uncordon"
phase = "after"
command = ["kubectl", "welcome"]
reason = "pods may come"
"""


@pytest.fixture
def systemd() -> FakeSystemd:
    found = FakeSystemd()
    found.add("kubelet.service")
    return found


@pytest.fixture
def live(host: Machine, systemd: FakeSystemd) -> Machine:
    host.systemd = systemd
    systemd.log = host.programs.log
    host.programs.commands = {
        "kubectl drain": lambda: (
            f"drained beside version {host.read('etc/version') if host.exists('etc/version') else 0}"
        ),
        "kubectl uncordon": lambda: "uncordoned",
        "kubectl welcome": lambda: f"welcome to version {host.read('etc/version')}",
    }
    for name, number in ((ONE, "1"), (TWO, "2")):
        tree = {SERVICE: UNIT, "opt/bin/kubelet": number, "etc/version": number}
        host.images.add(name, tree, STEPS.format(version=number))
    return host


def version(host: Machine) -> str:
    return host.read("etc/version") if host.exists("etc/version") else "0"


def audited(live: Machine) -> list[dict[str, object]]:
    lines = (live.root / "var/lib/ashore/audit.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "step" in line]


def test_they_run_before_the_files_and_after_health_and_their_output_is_kept(live: Machine) -> None:
    live.install(ONE)
    assert live.programs.log == ["kubectl drain", "daemon-reload", "start kubelet.service", "kubectl welcome"]
    assert [(line["phase"], line["step"], line["output"]) for line in audited(live)] == [
        ("before", "drain", "drained beside version 0"),
        ("after", "uncordon", "welcome to version 1"),
    ]
    live.programs.environments.clear()
    live.install(TWO)
    environment = live.programs.environments[0]
    current = live.tools().history.current()
    assert environment == {
        "ASHORE_BUNDLE": "worker",
        "ASHORE_OLD_VERSION": "1",
        "ASHORE_NEW_VERSION": "2",
        "ASHORE_TRANSACTION": current.transaction,
        "ASHORE_STEP": "drain",
        "ASHORE_PHASE": "before",
    }
    assert audited(live)[2]["output"] == "drained beside version 1"


def test_they_are_in_the_plan_and_a_plan_runs_none(live: Machine) -> None:
    plan, _ = preview.plan_install(live.tools(), [live.ask(ONE)])
    assert [(c.name, c.step.phase, c.step.within) for c in plan.commands] == [
        ("worker/drain", "before", 300.0),
        ("worker/uncordon", "after", 60.0),
        ("worker/drain", "undo", 60.0),
    ]
    assert live.programs.log == []


def test_nothing_to_do_runs_none(live: Machine) -> None:
    live.install(ONE)
    live.programs.log.clear()
    live.install(ONE)
    assert live.programs.log == []


def test_a_rollback_and_a_removal_run_those_of_the_version_that_they_are_about(live: Machine) -> None:
    live.install(ONE)
    live.install(TWO)
    live.programs.log.clear()
    live.roll_back()
    assert live.programs.log == ["kubectl drain", "restart kubelet.service", "kubectl welcome"]
    live.programs.log.clear()
    before = live.tree()
    live.remove("worker")
    assert live.programs.log == ["kubectl drain", "stop kubelet.service", "daemon-reload"]
    assert live.tree() != before and not live.exists("etc/version")


@pytest.mark.parametrize("failing", ["kubectl drain", "kubelet.service", "kubectl welcome"])
def test_a_failure_anywhere_goes_back_and_undoes_the_step_that_was_begun(
    live: Machine, systemd: FakeSystemd, failing: str
) -> None:
    live.install(ONE)
    before = live.tree()
    live.programs.log.clear()
    if failing.startswith("kubectl"):
        live.programs.fails = {failing: "no"}
    else:
        victim, up = systemd.units["kubelet.service"], systemd._up

        def starts(unit: object) -> None:
            victim.behaviour = Behaviour.FAILS if live.read("etc/version") == "2" else Behaviour.STAYS
            up(victim)

        systemd._up = starts  # type: ignore[method-assign]
    with pytest.raises(UnitsFailedError) as raised:
        live.install(TWO)
    assert raised.value.code == 7
    assert live.tree() == before and live.leftovers() == []
    assert live.programs.log[-1] == "kubectl uncordon", "after files and units are as they were"
    assert systemd.units["kubelet.service"].active == "active"
    if failing == "kubectl drain":
        assert "restart kubelet.service" not in live.programs.log, "it was not reached"
    if failing.startswith("kubectl"):
        assert failing in str(raised.value) and "no" in str(raised.value)
        assert [line["failed"] for line in audited(live) if "failed" in line]
    assert live.tools().history.held()


def test_a_step_that_was_not_begun_is_not_undone(live: Machine) -> None:
    two = STEPS.format(version="2").replace('name = "drain"\nphase = "before"', 'name = "first"\nphase = "before"', 1)
    first = '[[step]]\nname = "drain"\nphase = "before"\ncommand = ["kubectl", "later"]\nreason = "x"\n'
    live.images.add(ONE, {"etc/version": "1"}, two + first)
    live.programs.fails = {"kubectl drain": "no"}
    with pytest.raises(UnitsFailedError):
        live.install(ONE)
    assert live.programs.log == ["kubectl drain"]


def test_an_undo_that_fails_is_told_as_left_to_do(live: Machine) -> None:
    live.programs.fails = {"kubectl": "no"}
    with pytest.raises(ChangedError) as raised:
        live.install(ONE)
    assert [issue.where for issue in raised.value.issues] == ["worker/drain"]
    assert not live.exists("etc/version")
    assert "as it was before" not in f"{raised.value} {live.read('var/lib/ashore/audit.jsonl')}"
    assert "by hand" in raised.value.remedy and "then run: ashore recover" not in raised.value.remedy
    tools = live.tools()
    with tools.state.locked():
        assert recover(tools) == "nothing"


def test_on_an_offline_root_files_need_no_step(host: Machine) -> None:
    host.images.add(ONE, {"etc/version": "1"}, STEPS.format(version="1"))
    outcome = host.install(ONE)
    assert host.programs.log == []
    assert outcome.plan.notes == ("steps are not run on an offline root: worker/drain, worker/uncordon",)
    host.remove("worker")
    assert not host.exists("etc/version")


@pytest.mark.parametrize(("boot", "fails"), [("boot-1", False), ("boot-1", True), ("boot-2", False)])
def test_a_change_that_was_cut_short_undoes_its_step_at_once_or_when_the_host_is_up(
    live: Machine, systemd: FakeSystemd, boot: str, fails: bool
) -> None:
    class Cut(FakeSystemd):
        def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
            os._exit(9)

    before = live.tree()
    child = os.fork()
    if child == 0:
        live.systemd = Cut(systemd.units)
        live.install(ONE)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    live.programs.log.clear()
    tools = replace(live.tools(), boot=boot)
    if fails:
        live.programs.fails = {"kubectl": "no"}
    with tools.state.locked(), pytest.raises(ChangedError) if fails else contextlib.nullcontext() as raised:
        recover(tools)
    if raised is not None:
        assert "by hand" in raised.value.remedy and "then run" not in raised.value.remedy
        assert not tools.history.due() and live.leftovers() == [], "there is nothing to recover any more"
    assert live.tree() == before
    undone = [line for line in live.programs.log if line.startswith("kubectl")]
    if boot == "boot-1":
        assert undone == ["kubectl uncordon"]
        return
    assert undone == []
    (due,) = tools.history.due()
    assert (due.what, dict(due.environment)["ASHORE_STEP"]) == ("undo worker/drain", "drain")
    live.images.add(TWO, {"etc/motd": "hello"})
    live.install(TWO)
    assert [line for line in live.programs.log if line.startswith("kubectl")] == ["kubectl uncordon"]
    assert tools.history.due() == ()
