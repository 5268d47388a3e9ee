# SPDX-License-Identifier: Apache-2.0
"""Text for people and JSON for programs: results to stdout, talk to stderr."""

import os
import sys
import traceback as tracebacks
from typing import Any

import msgspec

from ashore.errors import AshoreError
from ashore.nouns.files import printable
from ashore.nouns.surrogates import told


def result(text: str) -> None:
    """The command's result, for people."""
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")


def result_bytes(data: bytes) -> None:
    """A file's content as it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def result_json(value: Any) -> None:
    """The command's result, for programs: stable, documented, sorted."""
    data = told(value, order="sorted")
    sys.stdout.write(msgspec.json.format(data, indent=2).decode() + "\n")


def say(line: str) -> None:
    """Talk: progress, notes, warnings. Never part of the result."""
    sys.stderr.write(line + "\n")


def _red(text: str) -> str:
    """`text` in red, where standard error is a terminal and NO_COLOR is unset (no-color.org)."""
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return text
    return f"\x1b[1;31m{text}\x1b[0m"


def error(problem: AshoreError) -> None:
    """Message, cause, every issue, remedy."""
    say(f"{_red('error:')} {printable_lines(problem.message)}")
    if problem.cause:
        say(f"  cause: {printable_lines(problem.cause)}")
    for issue in problem.issues:
        say(f"  - {printable_lines(str(issue))}")
    if problem.remedy:
        say(f"  remedy: {printable_lines(problem.remedy)}")


def fault(problem: Exception) -> None:
    """An error nobody foresaw: one line; the traceback is for --debug."""
    say(f"{_red('fault:')} {type(problem).__name__}: {printable_lines(str(problem))}")
    say("  this is a bug of ashore or an unforeseen state of the machine; --debug shows where")


def traceback() -> None:
    """The current exception's traceback."""
    tracebacks.print_exc(file=sys.stderr)


def printable_lines(text: str) -> str:
    """Escape what a terminal would obey; keep line breaks, indented."""
    return "\n    ".join(printable(line) for line in text.splitlines())
