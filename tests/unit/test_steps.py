# SPDX-License-Identifier: Apache-2.0
"""[[step]] of a bundle: how it is read, and when it runs."""

import jsonschema
import pytest

from ashore.errors import InputError
from ashore.nouns.bundle import BundleStep, Phase
from ashore.nouns.digest import Digest
from ashore.nouns.generation import EMPTY, BundleRecord, Generation, Verb
from ashore.nouns.plan import Action, Plan, PlannedStep, Step
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.bundles.manifest import json_schema, parse_manifest
from ashore.rules.steps import environment, planned_steps, shown, with_steps

DRAIN = """\
[[step]]
name    = "drain"
phase   = "before"
command = ["kubectl", "drain", "node 1"]
reason  = "pods move first"
within  = "5m"
units   = ["kubelet.service"]
"""
UNCORDON = DRAIN.replace('"before"', '"undo"').replace('"drain", "node 1"', '"uncordon", "node 1"')
AFTER = UNCORDON.replace('"undo"', '"after"').replace('"drain"', '"uncordon"')


def test_a_step_as_it_is_read() -> None:
    step = parse_manifest(DRAIN.encode(), "bundle.toml", "worker").steps[0]
    assert step == BundleStep(
        name="drain", phase=Phase.BEFORE, command=("kubectl", "drain", "node 1"), reason="pods move first",
        within=300.0, units=("kubelet.service",),
    )  # fmt: skip
    assert shown(step) == "kubectl drain 'node 1'"
    jsonschema.validate({"step": [{"name": "a", "phase": "after", "command": ["x"], "reason": "y"}]}, json_schema())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (DRAIN.replace('"before"', '"during"'), "bundle.toml:3: step[1].phase: 'during' is not known"),
        (DRAIN.replace('reason  = "pods move first"\n', ""), "bundle.toml:1: step[1] has no reason"),
        (DRAIN.replace('"kubectl", "drain", "node 1"', ""), "bundle.toml:4: step[1].command is empty"),
        (DRAIN.replace('["kubectl", "drain", "node 1"]', '"kubectl drain"'), "bundle.toml:4: step[1].command must be"),
        (DRAIN.replace("5m", "5 m"), "bundle.toml:6: step[1].within"),
        (DRAIN.replace("kubelet.service", "kubelet"), "bundle.toml:7: step[1].units[1]: 'kubelet' has no unit type"),
        (DRAIN + DRAIN, "bundle.toml:8: there are two steps drain in the phase before"),
        (UNCORDON, "bundle.toml:1: the step drain undoes what no step does"),
    ],
)
def test_what_is_wrong_with_a_step_is_told_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_manifest(text.encode(), "bundle.toml", "worker")
    assert any(problem in str(issue) for issue in raised.value.issues), raised.value.issues


STEPS = parse_manifest((DRAIN + UNCORDON + AFTER).encode(), "bundle.toml", "worker").steps


def bundle(version: str, steps: tuple[BundleStep, ...] = STEPS, name: str = "worker") -> BundleRecord:
    digest = Digest(f"sha256:{version:0>64}")
    return BundleRecord(
        name=name, version=version, reference="r", digest=digest, manifest_digest=digest, inputs="", steps=steps
    )


def generation(*bundles: BundleRecord) -> Generation:
    return Generation(number=1, transaction="t", time="", verb=Verb.INSTALL, bundles=bundles)


RESTART = UnitAction(verb=UnitVerb.RESTART, unit="kubelet.service", reason="")


def change(*bundles: BundleRecord, actions: tuple[UnitAction, ...] = (RESTART,), about: str = "worker") -> Plan:
    step = Step(action=Action.CREATE, path="etc/x", bundle=about)
    return Plan(steps=(step,), actions=actions, bundles=bundles)


def names(steps: tuple[PlannedStep, ...]) -> list[str]:
    return [f"{planned.step.phase} {planned.name} {planned.old_version}->{planned.new_version}" for planned in steps]


def test_the_new_versions_steps_run_in_their_phases() -> None:
    plan = change(bundle("2"))
    assert names(planned_steps(plan, generation(bundle("1", ())))) == [
        "before worker/drain 1->2",
        "after worker/uncordon 1->2",
        "undo worker/drain 1->2",
    ]


def test_a_step_that_is_for_a_unit_runs_only_where_the_plan_acts_on_it() -> None:
    assert planned_steps(change(bundle("2"), actions=()), EMPTY) == ()
    stop = Plan(stops=(UnitAction(verb=UnitVerb.STOP, unit="kubelet.service", reason=""),), bundles=(bundle("2"),))
    assert len(planned_steps(stop, EMPTY)) == 3


def test_a_bundle_that_goes_has_its_old_steps_before_and_none_after() -> None:
    assert names(planned_steps(change(), generation(bundle("1")))) == [
        "before worker/drain 1->",
        "undo worker/drain 1->",
    ]


def test_a_bundle_that_the_plan_is_not_about_has_none() -> None:
    other = bundle("1", name="other")
    plan = change(bundle("2"), other)
    assert {planned.bundle for planned in planned_steps(plan, generation(bundle("1"), other))} == {"worker"}


def test_where_nothing_is_done_no_step_runs() -> None:
    assert planned_steps(Plan(bundles=(bundle("2"),)), generation(bundle("1"))) == ()


def test_an_offline_root_runs_none_and_the_plan_says_so() -> None:
    plan = change(bundle("2"))
    steps = planned_steps(plan, EMPTY)
    assert with_steps(plan, steps, live=True).commands == steps
    offline = with_steps(plan, steps, live=False)
    assert offline.commands == ()
    assert offline.notes == ("steps are not run on an offline root: worker/drain, worker/uncordon",)


def test_a_step_knows_the_change_that_it_is_part_of() -> None:
    (first, *_) = planned_steps(change(bundle("2")), generation(bundle("1")))
    assert environment(first, "abc") == {
        "ASHORE_BUNDLE": "worker",
        "ASHORE_OLD_VERSION": "1",
        "ASHORE_NEW_VERSION": "2",
        "ASHORE_TRANSACTION": "abc",
        "ASHORE_STEP": "drain",
        "ASHORE_PHASE": "before",
    }
