# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: bars on a terminal, plain lines elsewhere, always on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ashore.cli.output import printable_lines, say
from ashore.nouns.amounts import size
from ashore.nouns.ports import Progress

_LINE_EVERY = 32_000_000
"""Bytes between two plain lines of one item."""


class Quiet:
    """Says nothing."""

    def begin(self, name: str, total: int) -> None: ...
    def advance(self, name: str, amount: int) -> None: ...
    def end(self, name: str) -> None: ...
    def say(self, line: str) -> None: ...


class Lines:
    """A line when an item begins to matter, one each 32 MB, one at its end."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def begin(self, name: str, total: int) -> None:
        self._done[name], self._total[name] = 0, total

    def advance(self, name: str, amount: int) -> None:
        before = self._done.get(name, 0)
        self._done[name] = before + amount
        if before // _LINE_EVERY != self._done[name] // _LINE_EVERY:
            say(f"{name}: {size(self._done[name])} of {size(self._total.get(name, 0))}")

    def end(self, name: str) -> None:
        done, total = self._done.pop(name, 0), self._total.get(name, 0)
        if done:
            say(f"{name}: done, {size(total)}" if done >= total else f"{name}: ended at {size(done)} of {size(total)}")

    def say(self, line: str) -> None:
        say(printable_lines(line))


class Bars:
    """A bar an item, by rich."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._tasks: dict[str, Any] = {}

    def begin(self, name: str, total: int) -> None:
        self._display.start()
        self._tasks[name] = self._display.add_task(name, total=total)

    def advance(self, name: str, amount: int) -> None:
        self._display.advance(self._tasks[name], amount)

    def end(self, name: str) -> None:
        self._display.update(self._tasks.pop(name), completed=None)

    def say(self, line: str) -> None:
        self._display.console.print(printable_lines(line), highlight=False, markup=False)


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress for the length of a command."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Display

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    display = Display(*columns, console=Console(stderr=True))
    try:
        yield Bars(display)
    finally:
        display.stop()
