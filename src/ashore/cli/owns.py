# SPDX-License-Identifier: Apache-2.0
"""``ashore owns``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.wiring import wired
from ashore.errors import ExitCode
from ashore.nouns.files import format_mode, shown


@click.command()
@click.argument("path")
@root_option
@json_option
@debug_option
def command(path: str, root: str, as_json: bool) -> int:
    """Tell which bundle owns PATH. Exits with 10 if none does."""
    from ashore.acts.ask.look import owns

    with wired(root) as tools:
        owner = owns(tools, path)
    if as_json:
        described = None
        if owner is not None:
            described = {
                "path": shown(owner.path),
                "bundle": owner.bundle,
                "kind": owner.kind,
                "mode": format_mode(owner.mode),
                "digest": owner.digest,
                "adopted": owner.adopted,
            }
        output.result_json(described)
    elif owner is None:
        output.say(f"no bundle owns {path}")
    else:
        adopted = "; what was there before comes back on removal" if owner.adopted else ""
        output.result(f"{shown(owner.path)}: {owner.bundle}{adopted}")
    return ExitCode.DONE if owner is not None else ExitCode.DIFFERS
