# SPDX-License-Identifier: Apache-2.0
"""``ashore logout``."""

import click

from ashore.cli import output
from ashore.cli.options import ROOT, debug_option
from ashore.cli.wiring import limits_of, settings_factory
from ashore.nouns import reference


@click.command()
@click.argument("registry", metavar="REGISTRY")
@debug_option
def command(registry: str) -> None:
    """Drop the login for REGISTRY (HOST, HOST:PORT or HOST/PATH) that `ashore login` kept."""
    from ashore.acts.fetch.login import logout

    place = reference.parse_registry(registry)
    gone = logout(place, settings=settings_factory(ROOT, limits_of(ROOT))())
    if gone is None:
        output.say(f"not logged in to {place}")
        return
    if gone.before:
        output.say(f"a login for {place} is left: that of {output.printable_lines(gone.before)}")
    if gone.trouble:
        output.say(f"whether another login for {place} is left cannot be told: {output.printable_lines(gone.trouble)}")
    if gone.file:
        output.result(f"logged out of {place}; it was kept in {output.printable_lines(gone.file)}")
