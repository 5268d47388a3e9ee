# SPDX-License-Identifier: Apache-2.0
"""A terminal to look over the shoulder at: a heading, the command as a user types it, what it really prints."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_SECONDS = 180


class StepError(Exception):
    """A step did not do what it should."""


class Terminal:
    """Runs commands in `folder` on this machine, or through `on_host` on another, and shows them.

    Whatever a command prints is shown. What it must print, and the code it must end with, is checked.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._on_host: Callable[[Sequence[str]], list[str]] | None = None
        self.commands = 0

    def connect(self, on_host: Callable[[Sequence[str]], list[str]]) -> None:
        """From now on `host` runs commands by the argument list that `on_host` makes of theirs."""
        self._on_host = on_host

    def heading(self, text: str) -> None:
        """What the next commands are about, in plain words."""
        _write(f"\n{_bold(f'== {text}')}\n")

    def say(self, text: str) -> None:
        """A remark that is not a command's output."""
        _write(f"   {text}\n")

    def here(self, command: str, *, code: int = 0, shows: Sequence[str] = ()) -> str:
        """Run a shell command on this machine; what it printed.

        Raises:
            StepError: it ended with another code than `code`, or something of `shows` is missing.
        """
        return self._run("$", command, ["sh", "-c", command], code, shows)

    def host(self, command: str, *, code: int = 0, shows: Sequence[str] = ()) -> str:
        """Run a shell command on the host, as `here` does on this machine."""
        assert self._on_host is not None, "connect comes first"
        return self._run("host#", command, self._on_host(["sh", "-c", command]), code, shows)

    def check(self, holds: bool, claim: str) -> None:
        """Say what was seen, or stop.

        Raises:
            StepError: the claim does not hold.
        """
        if not holds:
            raise StepError(f"this does not hold: {claim}")
        self.say(f"checked: {claim}")

    def _run(self, prompt: str, command: str, argv: list[str], code: int, shows: Sequence[str]) -> str:
        _write(f"{prompt} {_bold(command)}\n")
        self.commands += 1
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
        _write(done.stdout if done.stdout.endswith("\n") or not done.stdout else done.stdout + "\n")
        if done.returncode or code:
            _write(f"[exit code {done.returncode}]\n")
        if done.returncode != code:
            raise StepError(f"{command!r} ended with {done.returncode}, not {code}")
        for text in shows:
            if text not in done.stdout:
                raise StepError(f"{command!r} did not print {text!r}")
        return done.stdout


def _bold(text: str) -> str:
    if "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return f"\x1b[1m{text}\x1b[0m"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
