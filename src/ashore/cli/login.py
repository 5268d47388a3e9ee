# SPDX-License-Identifier: Apache-2.0
"""``ashore login``."""

import re
import sys

import click

from ashore.cli import output
from ashore.cli.options import ROOT, debug_option
from ashore.cli.progress import shown
from ashore.cli.wiring import limits_of, settings_factory
from ashore.errors import UsageError
from ashore.nouns import reference

_LONGEST = 64 * 1024
"""Bytes of a password: tokens of clouds have some thousand."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@click.command()
@click.argument("registry", metavar="REGISTRY")
@click.option("-u", "--username", metavar="USER", help="Who logs in (else asked for).")
@click.option("--password-stdin", is_flag=True, help="Take the password from standard input (else asked for).")
@debug_option
def command(registry: str, username: str | None, password_stdin: bool) -> None:
    """Have REGISTRY (HOST, HOST:PORT or HOST/PATH) check a user and password, and keep them for later commands."""
    from ashore.acts.fetch.login import login

    place = reference.parse_registry(registry)
    user, password = _typed(username, from_stdin=password_stdin)
    with shown() as progress:
        kept = login(place, user, password, settings=settings_factory(ROOT, limits_of(ROOT))(), progress=progress)
    if not kept.checked:
        output.say(f"{place.host} asks nobody for a login: it was kept, but nothing was checked")
    if kept.before:
        output.say(f"another login for {place} is used before it: that of {output.printable_lines(kept.before)}")
    if kept.trouble:
        output.say(f"which login for {place} is used cannot be told: {output.printable_lines(kept.trouble)}")
    where = output.printable_lines(kept.file)
    output.result(f"logged in to {place} as {output.printable_lines(user)}; kept in {where}")


def _typed(username: str | None, *, from_stdin: bool) -> tuple[str, str]:
    if from_stdin and username is None:
        raise UsageError("--password-stdin needs a user", remedy="add --username USER")
    if not from_stdin and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for a password at", remedy="use -u USER --password-stdin")
    user = _asked("Username") if username is None else username
    if not user or ":" in user or not _is_plain(user):
        cause = "it is empty, not UTF-8, or has a colon or control characters"
        raise UsageError(f"{user!r} is not a user's name", cause=cause)
    return user, _from_stdin() if from_stdin else _password(
        _asked("Password", hidden=True), "what was typed", remedy=""
    )


def _asked(what: str, *, hidden: bool = False) -> str:
    try:
        answer: str = click.prompt(what, hide_input=hidden, err=True)
    except UnicodeDecodeError:
        raise UsageError(f"the {what.lower()} that was typed is not UTF-8") from None
    return answer


def _from_stdin() -> str:
    data = sys.stdin.buffer.read(_LONGEST + 3)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UsageError("the password on standard input is not UTF-8") from None
    return _password(text.removesuffix("\n").removesuffix("\r"), "standard input", remedy="--password-stdin < FILE")


def _password(text: str, where: str, *, remedy: str) -> str:
    if not text or not _is_plain(text) or len(text.encode()) > _LONGEST:
        cause = "it is empty, longer than 64 KiB, not UTF-8, or has several lines or control characters"
        raise UsageError(f"{where} holds no password", cause=cause, remedy=remedy)
    return text


def _is_plain(text: str) -> bool:
    """Whether `text` has no control characters, and is UTF-8: what came as other bytes has half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not _CONTROL.search(text)
