# SPDX-License-Identifier: Apache-2.0
"""``ashore enter-host``: run a program of the host from within an installer image. Not for people, and not listed."""

import os

import click

from ashore.cli.options import ROOT
from ashore.errors import UnchangedError, words_of

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("TERM", "COLUMNS", "NO_COLOR")


@click.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("root")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def command(root: str, argv: tuple[str, ...]) -> None:
    """Become ARGV, with ROOT as the root."""
    # What this program's own libraries need is not for the host's programs.
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PATH": _PATH}
    try:
        os.chroot(root)
        os.chdir(ROOT)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - no shell
    except OSError as error:
        cause = f"{argv[0]}: {words_of(error)}"
        raise UnchangedError("cannot run a program of the host", cause=cause, remedy="add --privileged") from error
