# SPDX-License-Identifier: Apache-2.0
"""``ashore recover``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.wiring import wired
from ashore.errors import ExitCode


@click.command()
@click.option("--after-kill", is_flag=True, hidden=True, help="Say what became of the change that was killed.")
@click.option("--at-boot", is_flag=True, hidden=True, help="Hold the bundles' units until it is done.")
@root_option
@json_option
@debug_option
def command(after_kill: bool, at_boot: bool, root: str, as_json: bool) -> int:
    """Finish or undo an interrupted transaction: the host then holds exactly the old or the new generation."""
    from ashore.acts.boot.early import in_our_unit, let_go, recover_at_boot
    from ashore.acts.transaction.due import run_due
    from ashore.acts.transaction.recover import recover
    from ashore.nouns.journal import Recovered

    with wired(root) as tools:
        if at_boot:
            with in_our_unit(tools):
                result = str(recover_at_boot(tools))
        elif tools.state.fd is None:
            result = "nothing"
        else:
            with tools.state.locked():
                result = str(recover(tools))
                let_go(tools)
                run_due(tools)
        generation = tools.history.current().number
    if after_kill:
        output.say(f"the change was killed; {result}: generation {generation}")
        return ExitCode.DONE if result == Recovered.FORWARD else ExitCode.UNCHANGED
    if as_json:
        output.result_json({"recovered": result, "generation": generation})
    else:
        output.result(
            f"nothing to recover; generation {generation}" if result == "nothing" else f"{result}: {generation}"
        )
    return ExitCode.DONE
