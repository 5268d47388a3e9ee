# SPDX-License-Identifier: Apache-2.0
"""``ashore rollback``."""

import click
import msgspec

from ashore.cli.options import confirm_options, debug_option, dry_run_option, json_option, root_option, wait_option
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import wired
from ashore.errors import ExitCode, UsageError


@click.command()
@click.argument("generation", type=click.IntRange(min=1), required=False)
@click.option("--bundle", default="", metavar="NAME", help="Take only this bundle back to its version before.")
@dry_run_option
@confirm_options
@root_option
@json_option
@wait_option
@debug_option
def command(generation: int | None, bundle: str, dry_run: bool, confirm: float | None, root: str, as_json: bool) -> int:
    """Go back to the generation before, or to GENERATION, without a network. Once more goes further back."""
    from ashore.acts.change.install import BACK, roll_back
    from ashore.cli.render_outcome import show, show_plan

    if generation is not None and bundle:
        raise UsageError("a generation is of the whole host", remedy="give either GENERATION or --bundle")
    with wired(root) as tools:
        confirmed = msgspec.structs.replace(BACK, seconds=confirm)
        if dry_run:
            from ashore.acts.change.preview import plan_rollback

            foreseen = plan_rollback(tools, to=generation, bundle=bundle, confirm=confirmed)
            return show_plan(tools, foreseen, as_json=as_json)
        leave_to_pid1(tools)
        outcome = roll_back(tools, to=generation, bundle=bundle, confirm=confirmed)
    show(outcome, as_json=as_json)
    return ExitCode.DONE
