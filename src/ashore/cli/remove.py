# SPDX-License-Identifier: Apache-2.0
"""``ashore remove``."""

import sys
from collections.abc import Sequence

import click

from ashore.cli import output
from ashore.cli.options import confirm_options, debug_option, json_option, root_option
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import wired
from ashore.errors import UsageError
from ashore.nouns.confirm import Asked


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--purge", is_flag=True, help="Forget older generations and edits too; with the last bundle, ashore itself."
)
@click.option("--yes", is_flag=True, help="Do not ask before --purge.")
@confirm_options
@root_option
@json_option
@debug_option
def command(names: tuple[str, ...], purge: bool, yes: bool, confirm: float | None, root: str, as_json: bool) -> None:
    """Remove the named bundles: their units stop, their files go, and what was there before comes back."""
    from ashore.acts.change.farewell import boots_again, farewell
    from ashore.acts.change.install import remove
    from ashore.acts.change.outcome import nothing_done
    from ashore.cli.render_outcome import show

    if not names and not purge:
        raise UsageError("no bundle is named", remedy="ashore status lists what is installed")
    if purge and confirm:
        raise UsageError("after --purge there is no way back", remedy="give either --purge or --confirm")
    if purge and not yes and sys.stdin.isatty():
        click.confirm("There will be no way back to what is removed. Go on?", abort=True, err=True)
    with wired(root) as tools:
        leave_to_pid1(tools)
        left: Sequence[object] = ()
        if names:
            outcome = remove(tools, names, purge=purge, confirm=Asked(seconds=confirm))
            left = outcome.generation.bundles
            show(outcome, as_json=as_json)
        elif as_json:
            show(nothing_done(tools.history.current()), as_json=True)
        if purge and not left and farewell(tools):
            output.say("ashore itself is gone as well")
        if boots_again(tools):
            output.say("note: ashore-boot.service is enabled, so the next boot installs its bundle again")
