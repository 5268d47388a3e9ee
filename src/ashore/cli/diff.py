# SPDX-License-Identifier: Apache-2.0
"""``ashore diff``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.render_drift import attributes_text, difference_json, drift_text
from ashore.cli.wiring import wired
from ashore.errors import ExitCode
from ashore.nouns.owners import Owners


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH|UNIT]...")
@click.option("--exit-code", is_flag=True, help="Exit with 10 if there is drift.")
@click.option("--verify", is_flag=True, help="Read and hash every file, whatever its stat says.")
@root_option
@json_option
@debug_option
def command(paths: tuple[str, ...], exit_code: bool, verify: bool, root: str, as_json: bool) -> int:
    """Show how the host differs from its generation (plan is the host against an image)."""
    from ashore.acts.ask.look import diff, owners_of

    with wired(root) as tools:
        found = diff(tools, paths, verify=verify)
        owners = owners_of(tools) if found and not as_json else Owners()
    if as_json:
        output.result_json([difference_json(item, text) for item, text in found])
    else:
        for item, text in found:
            output.result(drift_text(item))
            if attributes := attributes_text(item, owners):
                output.result(f"  {attributes}")
            output.result(text)
    return ExitCode.DIFFERS if exit_code and found else ExitCode.DONE
