# SPDX-License-Identifier: Apache-2.0
"""``ashore carry-out``: what the service of PID 1 runs. Not for people, and not listed."""

import click

from ashore.cli.options import debug_option


@click.command(hidden=True)
@click.argument("file")
@debug_option
def command(file: str) -> int:
    """Carry out the command line in FILE."""
    from ashore.cli import run
    from ashore.cli.service import begin

    return run(begin(file).arguments)
