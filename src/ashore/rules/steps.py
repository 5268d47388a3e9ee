# SPDX-License-Identifier: Apache-2.0
"""Which steps of bundles a plan runs. Pure."""

import shlex

import msgspec

from ashore.nouns.bundle import BundleStep, Phase
from ashore.nouns.generation import Generation
from ashore.nouns.plan import Plan, PlannedStep

_ORDER = (Phase.BEFORE, Phase.AFTER, Phase.UNDO)


def planned_steps(plan: Plan, current: Generation) -> tuple[PlannedStep, ...]:
    """The steps of every bundle that `plan` is about, by phase, each where the units that it is for are acted on.

    A bundle that goes has those of its phase before; what it brought for afterwards is gone then.
    """
    if plan.empty:
        return ()
    staying = {bundle.name: bundle for bundle in plan.bundles}
    going = {bundle.name: bundle for bundle in current.bundles if bundle.name not in staying}
    acted_on = {action.unit for action in (*plan.stops, *plan.actions)}
    found: list[PlannedStep] = []
    for name in sorted(plan.touched(current) | going.keys()):
        record = staying.get(name) or going.get(name)
        chosen = [step for step in record.steps if not step.units or acted_on & {*step.units}] if record else []
        begun = {step.name for step in chosen if step.phase is Phase.BEFORE}
        found += [
            PlannedStep(
                bundle=name,
                step=step,
                old_version=old.version if (old := current.bundle(name)) else "",
                new_version=staying[name].version if name in staying else "",
            )
            for step in chosen
            if (step.phase is not Phase.AFTER or name in staying)
            and (step.phase is not Phase.UNDO or step.name in begun)
        ]
    return tuple(sorted(found, key=lambda planned: _ORDER.index(planned.step.phase)))


def with_steps(plan: Plan, steps: tuple[PlannedStep, ...], *, live: bool) -> Plan:
    """`plan` with these steps; on an offline root, where no bundle's command runs, with a note of them."""
    if live or not steps:
        return msgspec.structs.replace(plan, commands=steps)
    names = ", ".join(dict.fromkeys(planned.name for planned in steps))
    note = f"steps are not run on an offline root: {names}"
    return msgspec.structs.replace(plan, notes=(*plan.notes, note))


def environment(planned: PlannedStep, transaction: str) -> dict[str, str]:
    """What a step can know of the change that it is part of."""
    return {
        "ASHORE_BUNDLE": planned.bundle,
        "ASHORE_OLD_VERSION": planned.old_version,
        "ASHORE_NEW_VERSION": planned.new_version,
        "ASHORE_TRANSACTION": transaction,
        "ASHORE_STEP": planned.step.name,
        "ASHORE_PHASE": planned.step.phase,
    }


def shown(step: BundleStep) -> str:
    """The command as it can be pasted into a shell."""
    return shlex.join(step.command)
