# SPDX-License-Identifier: Apache-2.0
"""The command line: parse, call, render. The only place that turns an error into text and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from ashore.cli import output
from ashore.errors import AshoreError, ExitCode, UnchangedError, UsageError

# Verb -> what it is for, in the order of a user's day. A verb is a module of this package with a `command`.
VERBS = {
    "new": "Scaffold a bundle.",
    "lint": "Report every problem of a bundle.",
    "build": "Build a bundle into an OCI image.",
    "login": "Log in to a registry.",
    "logout": "Forget a login.",
    "push": "Copy an image to a registry.",
    "pull": "Copy an image from a registry.",
    "copy": "Copy an image from anywhere to anywhere.",
    "delta": "Store what makes an image out of an older one.",
    "inspect": "Show what an image would bring.",
    "plan": "Show what an install would change.",
    "install": "Install or upgrade to an image.",
    "upgrade": "Resolve the recorded references again.",
    "remove": "Remove a bundle and give back what was there.",
    "rollback": "Go back to an earlier generation.",
    "confirm": "Keep a change that waits for confirmation.",
    "status": "Show what is installed and whether it still is so.",
    "history": "List the generations.",
    "diff": "Compare the host with its generation.",
    "pending": "List, show and settle new versions that wait.",
    "repair": "Put right what differs.",
    "owns": "Tell which bundle owns a path.",
    "facts": "Show what templates can know of this host.",
    "render": "Render one file of a bundle for this host.",
    "prune": "Drop old generations and their contents.",
    "provision": "Print what makes a machine install an image when it boots.",
    "follow": "Install by itself what tags name now.",
    "recover": "Finish or undo an interrupted transaction.",
}


_CALLED = {
    "install": ("apply", "add"),
    "upgrade": ("update",),
    "remove": ("uninstall", "delete", "rm", "erase", "purge"),
    "rollback": ("undo", "revert"),
    "status": ("list", "ls", "ps", "show"),
    "history": ("log", "logs"),
    "diff": ("check", "verify"),
    "new": ("init", "create"),
    "prune": ("clean", "gc"),
}
"""What other tools call it: by its letters alone, uninstall is nearest to its opposite."""


HIDDEN = ("carry-out", "boot", "hand-over", "enter-host", "take-back", "watch")
"""What programs run: the service of PID 1 (mechanisms.handover), the boot unit, an installer, a timer, a watch."""


class Verbs(click.Group):
    """A group that imports a verb's module when it is used, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS and cmd_name not in HIDDEN:
            return None
        module = importlib.import_module(f"ashore.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0] if args else ""
        if verb and not verb.startswith("-") and self.get_command(ctx, verb) is None:
            import difflib

            meant = {word: verb for verb, words in _CALLED.items() for word in words} | {verb: verb for verb in VERBS}
            # Short words are near to everything, so they count only as they are.
            near = [verb] if verb in meant else difflib.get_close_matches(verb, [*VERBS, "uninstall"], n=1)
            hint = f" Did you mean {meant[near[0]]!r}?" if near else ""
            raise click.UsageError(f"There is no command {verb!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ashore", message="ashore %(version)s")
def program() -> None:
    """Host software and configuration, delivered as OCI images."""


def _check_texts(arguments: Sequence[str]) -> None:
    """What is recorded, hashed and printed of a command line has to be text."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            # Not quoted: what follows the = of a --set may be a secret.
            raise UsageError("an argument is not UTF-8", remedy="write names and values in UTF-8") from None


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return its exit code (docs/reference/exit-codes.md)."""
    debug = "--debug" in arguments
    try:
        _check_texts(arguments)
        code = program.main(list(arguments), prog_name="ashore", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.DONE
    except AshoreError as error:
        if debug:
            output.traceback()
        output.error(error)
        return error.code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        output.say("interrupted")
        return ExitCode.INTERRUPTED
    except PermissionError as error:
        where = f" for {error.filename}" if error.filename else ""
        output.error(UnchangedError(f"no permission{where}; nothing was changed", remedy="run as root"))
        return ExitCode.UNCHANGED
    except (BrokenPipeError, SystemExit):  # click makes the second of the first
        # The reader went away; what was asked has been done. Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:
        if debug:
            output.traceback()
        output.fault(error)
        return ExitCode.FAULT
