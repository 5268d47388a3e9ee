# SPDX-License-Identifier: Apache-2.0
"""``ashore remove``."""

import click

from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.service import carried_out_by_pid1
from ashore.cli.wiring import wired


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@root_option
@json_option
@debug_option
def command(names: tuple[str, ...], root: str, as_json: bool) -> int | None:
    """Remove the named bundles: their units stop, their files go, and what was there before comes back."""
    from ashore.acts.install import remove
    from ashore.cli.render_outcome import show

    with wired(root) as tools:
        if (code := carried_out_by_pid1(tools)) is not None:
            return code
        outcome = remove(tools, names)
    show(outcome, as_json=as_json)
    return None
