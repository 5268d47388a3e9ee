# SPDX-License-Identifier: Apache-2.0
"""``ashore pending``: the list, and ``show``, ``take`` and ``keep`` for what is in it."""

from typing import TYPE_CHECKING

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option, wait_option
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import wired
from ashore.nouns.files import Decided, shown

if TYPE_CHECKING:
    from ashore.acts.change.pending import Pending

_PATHS = click.argument("paths", metavar="PATH...", nargs=-1, required=True)


@click.group(invoke_without_command=True)
@root_option
@json_option
@debug_option
@click.pass_context
def command(context: click.Context, root: str, as_json: bool) -> None:
    """List files whose new version waits, since they were edited or deleted here and could not be merged."""
    if context.invoked_subcommand is not None:
        return
    from ashore.acts.change.pending import pending

    with wired(root) as tools:
        found = pending(tools)
    if as_json:
        output.result_json([pending_json(item) for item in found])
    else:
        output.result("\n".join(_line(item) for item in found) or "no new version waits")


@command.command("show")
@click.argument("path", metavar="PATH")
@root_option
@json_option
@debug_option
@click.pass_context
def show_command(context: click.Context, path: str, root: str, as_json: bool) -> None:
    """Show how the version that waits for PATH differs from what lies there."""
    from ashore.acts.change.pending import show

    root, as_json = _anywhere(context, root, as_json)
    with wired(root) as tools:
        item, difference = show(tools, path)
    if as_json:
        output.result_json([pending_json(item) | {"diff": difference}])
    else:
        output.result(_line(item))
        output.result(difference)


@command.command("take")
@_PATHS
@root_option
@json_option
@wait_option
@debug_option
@click.pass_context
def take_command(context: click.Context, paths: tuple[str, ...], root: str, as_json: bool) -> None:
    """Place the version that waits for each PATH; what lies there now stays in the store."""
    _settle(paths, *_anywhere(context, root, as_json), Decided.TAKE)


@command.command("keep")
@_PATHS
@root_option
@json_option
@wait_option
@debug_option
@click.pass_context
def keep_command(context: click.Context, paths: tuple[str, ...], root: str, as_json: bool) -> None:
    """Leave each PATH as it is, and list it no longer until a newer version comes."""
    _settle(paths, *_anywhere(context, root, as_json), Decided.KEEP)


def _anywhere(context: click.Context, root: str, as_json: bool) -> tuple[str, bool]:
    """``pending --root DIR take PATH`` means the same as ``pending take PATH --root DIR``."""
    above = context.parent
    assert above is not None
    given = click.core.ParameterSource.COMMANDLINE
    if above.get_parameter_source("root") is given and context.get_parameter_source("root") is not given:
        root = above.params["root"]
    return root, as_json or above.params["as_json"]


def _settle(paths: tuple[str, ...], root: str, as_json: bool, decided: Decided) -> None:
    from ashore.acts.change.pending import settle
    from ashore.cli.render_outcome import show

    with wired(root) as tools:
        leave_to_pid1(tools)
        outcome = settle(tools, paths, decided)
    show(outcome, as_json=as_json)


def _line(item: "Pending") -> str:
    return f"{shown(item.path)} ({item.bundle}): {item.verdict}; {item.reason}"


def pending_json(item: "Pending") -> dict[str, object]:
    """A version that waits, for programs (docs/reference/json.md)."""
    return {"path": shown(item.path), "bundle": item.bundle, "verdict": item.verdict, "reason": item.reason}
