# SPDX-License-Identifier: Apache-2.0
"""``ashore plan``."""

import click

from ashore.cli import output
from ashore.cli.options import Given, debug_option, image_options, json_option, rate_option, root_option, values_options
from ashore.cli.wiring import asks, wired
from ashore.errors import ExitCode


@click.command()
@click.argument("references", metavar="IMAGE...", nargs=-1, required=True)
@root_option
@json_option
@click.option("--exit-code", is_flag=True, help="Exit with 10 if something would change.")
@click.option("--adopt", is_flag=True, help="Take over files that are there and belong to no bundle.")
@values_options
@image_options
@rate_option
@debug_option
def command(
    references: tuple[str, ...],
    root: str,
    as_json: bool,
    exit_code: bool,
    adopt: bool,
    given: Given,
    limit_rate: int,
    root_in_image: str,
) -> int:
    """Show what installing IMAGE would change, and change nothing. With a conflict it exits with 6."""
    from ashore.acts.change.install import plan_install
    from ashore.acts.plan.differences import differences
    from ashore.cli.render_plan import plan_json, plan_text

    wanted = asks(references, given, root_in_image=root_in_image)
    with wired(root, facts_file=given.facts_file, rate=limit_rate) as tools:
        plan, supply = plan_install(tools, wanted, adopt_all=adopt)
        diffs = differences(tools, plan, supply)
    if as_json:
        output.result_json(plan_json(plan, diffs))
    else:
        output.result(plan_text(plan, diffs))
    if plan.conflicts:
        return ExitCode.CONFLICT
    return ExitCode.DIFFERS if exit_code and plan.changes else ExitCode.DONE
