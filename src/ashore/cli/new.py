# SPDX-License-Identifier: Apache-2.0
"""``ashore new NAME``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option


@click.command()
@click.argument("name", metavar="NAME")
@debug_option
def command(name: str) -> None:
    """Scaffold a bundle in a new folder NAME: a commented bundle.toml, a template and a unit.

    It lints clean, builds and installs as it is.
    """
    from ashore.acts.author.new import new

    for path in new(name):
        output.result(f"{name}/{path}")
    output.say(f"next: ashore lint {name}, then ashore build {name} -o oci:out")
