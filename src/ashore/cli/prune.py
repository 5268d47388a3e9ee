# SPDX-License-Identifier: Apache-2.0
"""``ashore prune``."""

import sys

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option, wait_option
from ashore.cli.wiring import wired
from ashore.nouns.amounts import size


@click.command()
@click.option("--keep", type=click.IntRange(min=1), default=None, help="Generations to keep (default: config.toml).")
@click.option("--discard-edits", is_flag=True, help="Also drop administrators' edits that were moved aside.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@root_option
@json_option
@wait_option
@debug_option
def command(keep: int | None, discard_edits: bool, yes: bool, root: str, as_json: bool) -> None:
    """Drop old generations and the contents that only they need."""
    from ashore.acts.change.discard import prune

    if discard_edits and not yes and sys.stdin.isatty():
        click.confirm("Edits that were moved aside will be gone for good. Go on?", abort=True, err=True)
    with wired(root) as tools:
        done = prune(tools, keep, discard_edits=discard_edits)
    if as_json:
        output.result_json(done)
    else:
        output.result(f"dropped {len(done.generations)} generations, freed {size(done.freed)}")
