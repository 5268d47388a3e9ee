# SPDX-License-Identifier: Apache-2.0
"""``ashore confirm``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option, wait_option
from ashore.cli.wiring import wired


@click.command()
@root_option
@json_option
@wait_option
@debug_option
def command(root: str, as_json: bool) -> None:
    """Keep what waits for confirmation. Run it from outside, over a new connection: that is what it proves."""
    from ashore.acts.boot.confirm import confirm

    with wired(root) as tools:
        done = confirm(tools)
    if as_json:
        output.result_json({"generation": done.generation, "confirmed": done.confirmed})
    elif done.confirmed:
        output.result(f"generation {done.generation} is confirmed")
    else:
        output.result(f"nothing waits for confirmation; generation {done.generation}")
