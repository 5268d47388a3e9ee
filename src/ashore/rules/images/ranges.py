# SPDX-License-Identifier: Apache-2.0
"""Which parts of a blob are asked for as one."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def joined(parts: Sequence[T], bounds: Callable[[T], tuple[int, int]], gap: int) -> Iterator[list[T]]:
    """Runs of neighbours: one request each, where what lies between costs less than a request.

    `parts` come in the order of the blob; `bounds` are their first byte and the one after the last.
    """
    run: list[T] = []
    for part in parts:
        if run and not 0 <= bounds(part)[0] - bounds(run[-1])[1] <= gap:
            yield run
            run = []
        run.append(part)
    if run:
        yield run
