# SPDX-License-Identifier: Apache-2.0
"""``ashore watch``: what the service runs that watches on after a change. Not for people, and not listed."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, root_option
from ashore.cli.wiring import wired


@click.command("watch", hidden=True)
@click.argument("transaction")
@root_option
@debug_option
def command(transaction: str, root: str) -> None:
    """Watch what TRANSACTION started, and take it back if that fails before its time is over."""
    from ashore.acts.boot.watching import watch_on

    with wired(root) as tools:
        back = watch_on(tools, transaction)
    if back is not None:
        output.say(f"generation {back.generation.number} brings back what was there before")
