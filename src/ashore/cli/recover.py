# SPDX-License-Identifier: Apache-2.0
"""``ashore recover``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.wiring import wired


@click.command()
@root_option
@json_option
@debug_option
def command(root: str, as_json: bool) -> None:
    """Finish or undo an interrupted transaction: the host then holds exactly the old or the new generation."""
    from ashore.acts.recover import recover

    with wired(root) as tools:
        if tools.state.fd is None:
            result = "nothing"
        else:
            with tools.state.locked():
                result = str(recover(tools))
        generation = tools.history.current().number
    if as_json:
        output.result_json({"recovered": result, "generation": generation})
    else:
        output.result(
            f"nothing to recover; generation {generation}" if result == "nothing" else f"{result}: {generation}"
        )
