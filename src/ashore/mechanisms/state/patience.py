# SPDX-License-Identifier: Apache-2.0
"""How long somebody waits for another ashore to end its work."""

import time
from collections.abc import Callable

from ashore.nouns.duration import duration

_PAUSE = 0.2


class Patience:
    """Asked while another holds the lock; says once that it waits."""

    def __init__(
        self,
        seconds: float,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._seconds, self._say, self._clock, self._sleep = seconds, say, clock, sleep
        self._until: float | None = None

    def lasts(self) -> bool:
        """After a short while: whether to try once more."""
        if self._until is None:
            self._until = self._clock() + self._seconds
            if self._seconds:
                self._say(f"another ashore is at work; waiting for it, at most {duration(self._seconds)}")
        left = self._until - self._clock()
        self._sleep(max(0.0, min(_PAUSE, left)))
        return left > 0
