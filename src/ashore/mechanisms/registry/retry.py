# SPDX-License-Identifier: Apache-2.0
"""What is worth another attempt, and when."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ashore.errors import RegistryError

T = TypeVar("T")

STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be another one next time."""
FAULTS = frozenset({"dns", "refused", "unreachable", "reset", "timeout"})
"""Faults of a connection that may be gone next time (an early boot without DNS included)."""

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 8.0
LONGEST_RETRY_AFTER = 30.0
"""Seconds; a server that asks for more is asked again after these."""


class Again(Exception):  # noqa: N818 - a turn of the road, caught before anybody sees it
    """An attempt failed with `error` and may be repeated, after `after` seconds if the server said so."""

    def __init__(self, error: RegistryError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and with what pause. `jitter` gives numbers in [0, 1)."""

    attempts: int
    sleep: Callable[[float], None]
    jitter: Callable[[], float]
    say: Callable[[str], None]
    patience: float = float("inf")
    """Seconds: a server that asks for more is not asked again."""

    def run(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it does not raise `Again`, at most `attempts` more times; then raise its error.

        A server that asks for more than `patience` is not asked again either.
        """
        number = 0
        while True:
            try:
                return attempt()
            except Again as again:
                if number >= self.attempts or (again.after or 0.0) > self.patience:
                    raise again.error from again
                number += 1
                self.pause(number, again)

    def pause(self, number: int, again: Again) -> None:
        """Wait before attempt `number` (from 1)."""
        seconds = self.seconds(number, again.after)
        self.say(f"{again.error}; trying again in {seconds:.1f} s ({number} of {self.attempts})")
        self.sleep(seconds)

    def seconds(self, number: int, after: float | None) -> float:
        """What the server asked for, capped; else twice as long each time, less up to a half by chance."""
        if after is not None:
            return min(max(after, 0.0), LONGEST_RETRY_AFTER)
        full = min(_FIRST_SECONDS * 2.0 ** min(number - 1, 16), _LONGEST_SECONDS)
        return full * (1 - self.jitter() / 2)


def retry_after(value: str, now: float) -> float | None:
    """Seconds of a ``Retry-After`` header (RFC 9110, 10.2.3: a number or a date); None if it says nothing.

    `now` is seconds since the epoch.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    if not value:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
