# SPDX-License-Identifier: Apache-2.0
"""The result of a story, the same for every verb that changes a host."""

from typing import TYPE_CHECKING

from ashore.acts.change.outcome import Outcome
from ashore.cli import output
from ashore.cli.render_plan import bundles_json, outcome_text, plan_json, plan_text, provisional_json, provisional_text
from ashore.errors import ExitCode

if TYPE_CHECKING:
    from ashore.acts.change.preview import Foreseen
    from ashore.acts.tools import Tools


def show_plan(tools: "Tools", foreseen: "Foreseen", *, as_json: bool) -> ExitCode:
    """Print what would be done; the code says whether it could be."""
    from ashore.acts.plan.differences import differences

    plan, supply = foreseen
    diffs = differences(tools, plan, supply)
    if as_json:
        output.result_json(plan_json(plan, diffs))
    else:
        output.result(plan_text(plan, diffs))
    return ExitCode.CONFLICT if plan.conflicts else ExitCode.DONE


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print what was done and which generation holds now."""
    waiting = outcome.waiting
    if as_json:
        described = plan_json(outcome.plan, {})
        described |= {"changed": outcome.changed, "generation": outcome.generation.number}
        described["recovered"] = outcome.recovered
        described["bundles"] = bundles_json(outcome.generation.bundles)
        described["provisional"] = provisional_json(waiting)
        output.result_json(described)
        return
    if outcome.recovered != "nothing":
        output.say(f"an interrupted transaction was found first: {outcome.recovered}")
    output.result(outcome_text(outcome.plan, outcome.generation, changed=outcome.changed))
    if waiting is not None:
        output.result(provisional_text(waiting))
