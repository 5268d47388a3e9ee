# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share. The only place that names the root of this machine."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click
import msgspec

from ashore.errors import UsageError
from ashore.nouns.amounts import parse_rate

F = TypeVar("F", bound=Callable[..., Any])
_LONGEST = 10 * 366 * 86400.0
"""Seconds: far more, and no clock could tell the end of it."""

ROOT = "/"


def root_option(function: F) -> F:
    """``--root DIR``: the host's root; any other than PID 1's is offline: files and enablement only."""
    return click.option(
        "--root",
        default=ROOT,
        metavar="DIR",
        envvar="ASHORE_ROOT",
        help="The root to work on (default: this host). Another than the running system's is offline: "
        "nothing is started there.",
    )(function)


def json_option(function: F) -> F:
    """``--json``: the result as JSON, as docs/reference/json.md describes it."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def debug_option(function: F) -> F:
    """``--debug``: tracebacks of errors. `cli.run` looks for it, so that it works for every error."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")(function)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the options about values and facts say, as typed."""

    sets: tuple[str, ...] = ()
    set_files: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    reset: bool = False
    facts_file: str | None = None


NOTHING_GIVEN = Given()


def values_options(function: F) -> F:
    """``--set K=V``, ``--set-file K=PATH``, ``--unset K``, ``--reset-values``, ``--facts FILE``: one `given`."""

    @functools.wraps(function)
    def collected(**options: Any) -> Any:
        given = Given(**{name: options.pop(name) for name in Given.__struct_fields__})
        return function(given=given, **options)

    command: Any = collected
    for option in reversed(
        (
            click.option("--set", "sets", multiple=True, metavar="K=V", help="Set a value (TOML, else text)."),
            click.option(
                "--set-file", "set_files", multiple=True, metavar="K=FILE", help="Set a value to a file's text."
            ),
            click.option("--unset", multiple=True, metavar="K", help="Forget a value that --set recorded."),
            click.option("--reset-values", "reset", is_flag=True, help="Forget all values that --set recorded."),
            click.option("--facts", "facts_file", metavar="FILE", help="Take the host's facts from FILE."),
        )
    ):
        command = option(command)
    return cast("F", command)


def dry_run_option(function: F) -> F:
    return click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")(function)


def confirm_options(function: F) -> F:
    """``--confirm TIME``, ``--no-confirm``: one `confirm`, None where nothing is said, 0 for none."""

    @functools.wraps(function)
    def decided(confirm_text: str | None, no_confirm: bool, **options: Any) -> Any:
        seconds = 0.0 if no_confirm else None
        if confirm_text is not None:
            seconds = seconds_given("--confirm", confirm_text)
            if no_confirm and seconds:
                raise UsageError("--confirm and --no-confirm do not fit together", remedy="give one of them")
        return function(confirm=seconds, **options)

    command: Any = decided
    command = click.option("--no-confirm", is_flag=True, help="Keep the change, whatever it concerns.")(command)
    command = click.option(
        "--confirm",
        "confirm_text",
        metavar="TIME",
        help="Take the change back if nobody confirms it within TIME, like 5m (ashore confirm); 0: keep it.",
    )(command)
    return cast("F", command)


def seconds_given(option: str, text: str) -> float:
    """What an option says of a time: ``5m``, or seconds.

    Raises:
        UsageError: it is no time.
    """
    from ashore.nouns.duration import seconds_of

    seconds = float(text) if text.isascii() and text.isdecimal() else seconds_of(text)
    if seconds is not None and seconds > _LONGEST:
        raise UsageError(f"{option} {text} is too long", remedy="at most ten years")
    if seconds is None:
        raise UsageError(f"{option} {text} is not a time", remedy="write 90s, 5m or 1h30m")
    return seconds


def image_options(function: F) -> F:
    """``--root-in-image PATH``: install the tree at PATH of an image that was made before ashore."""
    return click.option(
        "--root-in-image", metavar="PATH", default="", help="The tree to install, in an image made before ashore."
    )(function)


_WAIT = "ashore.wait"


def wait_option(function: F) -> F:
    """``--wait TIME``: how long to wait for another ashore; `seconds_to_wait` says it to who takes the lock."""

    def noted(context: click.Context, _parameter: click.Parameter, text: str | None) -> None:
        if text is not None:
            context.meta[_WAIT] = seconds_given("--wait", text)

    text = "Wait so long for another ashore that is at work (default: not at all)."
    return click.option("--wait", metavar="TIME", expose_value=False, callback=noted, help=text)(function)


def seconds_to_wait() -> float:
    """What ``--wait`` said, 0 for nothing."""
    context = click.get_current_context(silent=True)
    return float(context.meta.get(_WAIT, 0)) if context is not None else 0.0


def recorded_as_option(function: F) -> F:
    """``--reference NAME``: by which name an image that came in a file is recorded."""
    text = "Record an image from a folder or archive by this name, in the registry that upgrades ask."
    return click.option("--reference", "recorded_as", metavar="NAME", help=text)(function)


def copy_options(function: F) -> F:
    """``--platform OS/ARCH``, ``--referrers deltas|all|none``: what of an index, and of all that refers to it."""
    command = click.option(
        "--referrers",
        type=click.Choice(("deltas", "all", "none")),
        default="deltas",
        show_default=True,
        help="What belongs to the image and is copied with it: ashore's deltas, or signatures and the like too.",
    )(function)
    text = "Of an index, copy the image for one platform only."
    return click.option("--platform", metavar="OS/ARCH", help=text)(command)


def rate_option(function: F) -> F:
    """``--limit-rate RATE``: how fast to download, as bytes a second; 0 where nobody says."""
    return click.option(
        "--limit-rate",
        metavar="RATE",
        callback=_rate,
        help="Download at most RATE bytes a second (500k, 2M).",
    )(function)


def _rate(_context: click.Context, _parameter: click.Parameter, text: object) -> int:
    if text is None:
        return 0
    try:
        return parse_rate(str(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
