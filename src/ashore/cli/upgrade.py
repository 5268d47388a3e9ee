# SPDX-License-Identifier: Apache-2.0
"""``ashore upgrade``."""

import click

from ashore.cli.options import (
    Given,
    confirm_options,
    debug_option,
    dry_run_option,
    json_option,
    rate_option,
    root_option,
    values_options,
    wait_option,
)
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import ask_of_values, wired
from ashore.errors import ExitCode
from ashore.nouns.confirm import Asked
from ashore.nouns.generation import Verb


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@root_option
@json_option
@dry_run_option
@click.option("--adopt", is_flag=True, help="Take over files that are there and belong to no bundle.")
@confirm_options
@values_options
@rate_option
@wait_option
@debug_option
def command(
    names: tuple[str, ...],
    root: str,
    as_json: bool,
    dry_run: bool,
    adopt: bool,
    confirm: float | None,
    given: Given,
    limit_rate: int,
) -> int:
    """Ask the registry again for the images of the named bundles, and install what is new.

    Without a name that is all of them, but for what is held: what failed or was rolled back is installed again by name.
    """
    from ashore.acts.change.asking import unchanged, upgrades
    from ashore.cli.render_outcome import show, show_plan

    asked = ask_of_values(given)
    with wired(root, facts_file=given.facts_file, rate=limit_rate) as tools:
        wanted = upgrades(tools.history.current(), names, asked)
        confirmed = Asked(seconds=confirm)
        if dry_run:
            from ashore.acts.change.preview import plan_upgrade

            foreseen = plan_upgrade(tools, wanted, all_of_them=not names, adopt_all=adopt, confirm=confirmed)
            return show_plan(tools, foreseen, as_json=as_json)
        outcome = unchanged(tools, wanted, without_gone=not names)
        if outcome is None:
            leave_to_pid1(tools)
            from ashore.acts.change.install import install

            outcome = install(tools, wanted, Verb.UPGRADE, adopt_all=adopt, confirm=confirmed, all_of_them=not names)
    show(outcome, as_json=as_json)
    return ExitCode.DONE
