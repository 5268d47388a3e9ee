# SPDX-License-Identifier: Apache-2.0
"""``ashore plan``."""

import click

from ashore.cli.options import (
    Given,
    debug_option,
    image_options,
    json_option,
    rate_option,
    recorded_as_option,
    root_option,
    values_options,
)
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
@recorded_as_option
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
    recorded_as: str | None,
) -> int:
    """Show what installing IMAGE would change, and change nothing. With a conflict it exits with 6."""
    from ashore.acts.change.preview import plan_install
    from ashore.cli.render_outcome import show_plan

    wanted = asks(references, given, root_in_image=root_in_image, recorded_as=recorded_as)
    with wired(root, facts_file=given.facts_file, rate=limit_rate) as tools:
        foreseen = plan_install(tools, wanted, adopt_all=adopt)
        code = show_plan(tools, foreseen, as_json=as_json)
    return ExitCode.DIFFERS if exit_code and not code and foreseen[0].changes else code
