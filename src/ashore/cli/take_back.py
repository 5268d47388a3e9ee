# SPDX-License-Identifier: Apache-2.0
"""``ashore take-back``: what the timer of an unconfirmed change runs. Not listed: people say confirm or rollback."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, root_option
from ashore.cli.wiring import wired


@click.command("take-back", hidden=True)
@root_option
@debug_option
def command(root: str) -> None:
    """Take an unconfirmed change back, once its time is over."""
    from ashore.acts.boot.confirm import take_back_in_time
    from ashore.acts.boot.early import in_our_unit

    with wired(root) as tools, in_our_unit(tools):
        done = take_back_in_time(tools)
    if done.taken_back:
        output.say(f"nobody confirmed in time: generation {done.generation} brings back what was there before")
    elif done.confirmed:
        output.say(f"generation {done.generation} is confirmed by a login over ssh")
