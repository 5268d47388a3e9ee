# SPDX-License-Identifier: Apache-2.0
"""``ashore repair``."""

from collections.abc import Sequence

import click
import msgspec

from ashore.cli import output
from ashore.cli.options import confirm_options, debug_option, dry_run_option, json_option, root_option, wait_option
from ashore.cli.render_drift import drift_text
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import wired
from ashore.errors import ExitCode
from ashore.rules.files.drift import Drift


@click.command()
@click.argument("names", nargs=-1, metavar="[PATH|UNIT]...")
@click.option("--all", "kept", is_flag=True, help="Also what was kept at the last change, as what is named.")
@click.option("--foreign", is_flag=True, help="Remove files of nobody from folders that are a bundle's alone, too.")
@click.option("--verify", is_flag=True, help="Read and hash every file, whatever its stat says.")
@dry_run_option
@confirm_options
@root_option
@json_option
@wait_option
@debug_option
def command(
    names: tuple[str, ...],
    kept: bool,
    foreign: bool,
    verify: bool,
    dry_run: bool,
    confirm: float | None,
    root: str,
    as_json: bool,
) -> int:
    """Put right what diff shows: all that changed since the last transaction, or what is named, kept edits too."""
    from ashore.acts.change.install import BACK
    from ashore.acts.change.repair import Scope, plan_repair, repair
    from ashore.cli.render_outcome import show, show_plan

    with wired(root) as tools:
        asked = msgspec.structs.replace(BACK, seconds=confirm)
        scope = Scope(names=names, kept=kept, foreign=foreign, verify=verify)
        if dry_run:
            foreseen, left = plan_repair(tools, scope, confirm=asked)
            _tell_of_left(left)
            return show_plan(tools, foreseen, as_json=as_json)
        leave_to_pid1(tools)
        done = repair(tools, scope, confirm=asked)
    _tell_of_left(done.left)
    show(done.outcome, as_json=as_json)
    return ExitCode.DONE


def _tell_of_left(left: Sequence[Drift]) -> None:
    for item in left:
        output.say(f"left as it is: {drift_text(item)}")
