# SPDX-License-Identifier: Apache-2.0
"""``ashore remove``."""

import sys
from collections.abc import Sequence

import click

from ashore.cli import output
from ashore.cli.options import confirm_options, debug_option, dry_run_option, json_option, root_option, wait_option
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import wired
from ashore.errors import ExitCode, UsageError
from ashore.nouns.confirm import Asked


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--purge", is_flag=True, help="Forget older generations and edits too; with the last bundle, ashore itself."
)
@click.option("--yes", is_flag=True, help="Do not ask before --purge.")
@dry_run_option
@confirm_options
@root_option
@json_option
@wait_option
@debug_option
def command(
    names: tuple[str, ...], purge: bool, yes: bool, dry_run: bool, confirm: float | None, root: str, as_json: bool
) -> int:
    """Remove the named bundles: their units stop, their files go, and what was there before comes back."""
    from ashore.acts.change.farewell import boots_again, farewell
    from ashore.acts.change.install import remove
    from ashore.acts.change.outcome import nothing_done
    from ashore.cli.render_outcome import show, show_plan

    if not names and not purge:
        raise UsageError("no bundle is named", remedy="ashore status lists what is installed")
    if purge and confirm:
        raise UsageError("after --purge there is no way back", remedy="give either --purge or --confirm")
    if dry_run and not names:
        raise UsageError("no bundle is named, so nothing of the host would change", remedy="give it without --dry-run")
    if purge and not yes and not dry_run and sys.stdin.isatty():
        click.confirm("There will be no way back to what is removed. Go on?", abort=True, err=True)
    with wired(root) as tools:
        confirmed = Asked(seconds=confirm)
        if dry_run:
            from ashore.acts.change.preview import plan_removal

            return show_plan(tools, plan_removal(tools, names, purge=purge, confirm=confirmed), as_json=as_json)
        leave_to_pid1(tools)
        left: Sequence[object] = ()
        if names:
            outcome = remove(tools, names, purge=purge, confirm=confirmed)
            left = outcome.generation.bundles
            show(outcome, as_json=as_json)
        elif as_json:
            show(nothing_done(tools.history.current()), as_json=True)
        if purge and not left and farewell(tools):
            output.say("ashore itself is gone as well")
        if boots_again(tools):
            output.say("note: ashore-boot.service is enabled, so the next boot installs its bundle again")
    return ExitCode.DONE
