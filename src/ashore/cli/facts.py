# SPDX-License-Identifier: Apache-2.0
"""``ashore facts``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option


@click.command()
@root_option
@json_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of facts instead.")
@debug_option
def command(root: str, as_json: bool, schema: bool) -> None:
    """Show what templates can know of this host, by the names that they use.

    The JSON can be given back with --facts FILE, for an offline root or to try a template.
    """
    if schema:
        from ashore.acts.author.schemas import facts_schema

        output.result_json(facts_schema())
        return
    from ashore.acts.ask.facts import facts, lines

    found = facts(root)
    if as_json:
        output.result_json(found)
    else:
        output.result("\n".join(lines(found)))
