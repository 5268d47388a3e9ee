# SPDX-License-Identifier: Apache-2.0
"""``ashore recover``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option, wait_option
from ashore.cli.wiring import wired
from ashore.errors import AshoreError, ExitCode


@click.command()
@click.option("--after-kill", default="", hidden=True, help="The request of the change that was killed.")
@click.option("--at-boot", is_flag=True, hidden=True, help="Hold the bundles' units until it is done.")
@root_option
@json_option
@wait_option
@debug_option
def command(after_kill: str, at_boot: bool, root: str, as_json: bool) -> int:
    """Finish or undo an interrupted transaction: the host then holds exactly the old or the new generation."""
    if after_kill:
        return _after_kill(root, after_kill)
    result, generation = _recover(root, at_boot=at_boot)
    if as_json:
        output.result_json({"recovered": result, "generation": generation})
    else:
        output.result(
            f"nothing to recover; generation {generation}" if result == "nothing" else f"{result}: {generation}"
        )
    return ExitCode.DONE


def _recover(root: str, *, at_boot: bool = False) -> tuple[str, int]:
    """What was done, and the generation that holds now."""
    from ashore.acts.boot.early import in_our_unit, let_go, recover_at_boot
    from ashore.acts.transaction.due import run_due
    from ashore.acts.transaction.recover import recover

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
        return result, tools.history.current().number


def _after_kill(root: str, request: str) -> int:
    """The service runs once more, and nobody hears it: whoever waits for the change is left a word."""
    from ashore.cli.service import leave_ending
    from ashore.nouns.journal import Recovered

    try:
        result, generation = _recover(root)
    except Exception as error:
        known = error if isinstance(error, AshoreError) else None
        remedy = f" ({known.remedy})" if known is not None and known.remedy else ""
        code = known.code if known is not None else ExitCode.FAULT
        leave_ending(root, request, code, f"the change was killed; {error}{remedy}")
        raise
    text = f"the change was killed; {result}: generation {generation}"
    code = ExitCode.DONE if result == Recovered.FORWARD else ExitCode.UNCHANGED
    output.say(text)
    leave_ending(root, request, code, text)
    return code
