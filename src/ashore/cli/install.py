# SPDX-License-Identifier: Apache-2.0
"""``ashore install``."""

import click

from ashore.cli.options import (
    Given,
    confirm_options,
    debug_option,
    dry_run_option,
    image_options,
    json_option,
    rate_option,
    recorded_as_option,
    root_option,
    values_options,
    wait_option,
)
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import asks, wired
from ashore.errors import ExitCode
from ashore.nouns.confirm import Asked


@click.command()
@click.argument("references", metavar="IMAGE...", nargs=-1, required=True)
@root_option
@json_option
@dry_run_option
@click.option("--adopt", is_flag=True, help="Take over files that are there and belong to no bundle.")
@confirm_options
@values_options
@image_options
@recorded_as_option
@rate_option
@wait_option
@debug_option
def command(
    references: tuple[str, ...],
    root: str,
    as_json: bool,
    dry_run: bool,
    adopt: bool,
    confirm: float | None,
    given: Given,
    limit_rate: int,
    root_in_image: str,
    recorded_as: str | None,
) -> int:
    """Install the bundles that the images carry; a bundle that is installed is upgraded to the image."""
    from ashore.acts.change.asking import unchanged
    from ashore.cli.render_outcome import show, show_plan

    wanted = asks(references, given, root_in_image=root_in_image, recorded_as=recorded_as)
    with wired(root, facts_file=given.facts_file, rate=limit_rate) as tools:
        confirmed = Asked(seconds=confirm)
        if dry_run:
            from ashore.acts.change.preview import plan_install

            return show_plan(tools, plan_install(tools, wanted, adopt_all=adopt, confirm=confirmed), as_json=as_json)
        outcome = unchanged(tools, wanted)
        if outcome is None:
            leave_to_pid1(tools)
            from ashore.acts.change.install import install

            outcome = install(tools, wanted, adopt_all=adopt, confirm=confirmed)
    show(outcome, as_json=as_json)
    return ExitCode.DONE
