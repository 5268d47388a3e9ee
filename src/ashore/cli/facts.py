# SPDX-License-Identifier: Apache-2.0
"""``ashore facts``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.errors import UsageError


@click.command()
@root_option
@json_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of facts instead.")
@click.option("--values", "bundle", metavar="NAME", help="Show an installed bundle's values, and where each is from.")
@debug_option
def command(root: str, as_json: bool, schema: bool, bundle: str | None) -> None:
    """Show what templates can know of this host, by the names that they use.

    The JSON can be given back with --facts FILE, for an offline root or to try a template.
    """
    if bundle is not None and schema:
        raise UsageError("--schema is that of facts, and --values shows no facts", remedy="leave out one of them")
    if bundle is not None:
        _values(root, bundle, as_json=as_json)
        return
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


def _values(root: str, bundle: str, *, as_json: bool) -> None:
    from ashore.acts.ask.values import lines, values
    from ashore.acts.change.asking import installed
    from ashore.cli.wiring import wired

    with wired(root) as tools:
        found = values(tools, installed(tools.history.current(), bundle))
    if as_json:
        output.result_json(found)
    else:
        output.result("\n".join(lines(found)))
