# SPDX-License-Identifier: Apache-2.0
"""``ashore lint DIR``."""

import click

from ashore.cli import output
from ashore.cli.options import ROOT, debug_option, json_option
from ashore.cli.wiring import limits_of
from ashore.errors import ExitCode


@click.command()
@click.argument("folder", metavar="DIR", default=".")
@json_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of bundle.toml instead.")
@debug_option
@click.pass_context
def command(ctx: click.Context, folder: str, as_json: bool, schema: bool) -> None:
    """Report every problem of the bundle in DIR, each with its file and line.

    Ends with 3 if one of them is an error; warnings alone end with 0.
    """
    if schema:
        from ashore.acts.author.schemas import bundle_schema

        output.result_json(bundle_schema())
        return
    from ashore.acts.author.lint import failed, lint

    findings = lint(folder, limits_of(ROOT))
    if as_json:
        output.result_json({"findings": findings})
    else:
        for found in findings:
            hint = f" ({found.remedy})" if found.remedy else ""
            output.result(output.printable_lines(f"{found.where}: {found.severity}: {found.message}{hint}"))
    if failed(findings):
        ctx.exit(ExitCode.INPUT)
    output.say(f"warnings: {len(findings)}" if findings else "nothing to report")
