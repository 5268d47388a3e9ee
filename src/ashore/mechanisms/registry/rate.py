# SPDX-License-Identifier: Apache-2.0
"""A limit on how fast downloads go, all connections together."""

import threading
import time
from collections.abc import Callable

_PIECES = 8
"""A second. Small steps keep a slow download even, and no server waits long for the next one."""
_LEAST, _MOST = 1 << 10, 1 << 18
"""Bytes of a piece."""


class Rate:
    """So many bytes a second. May be used by several threads."""

    def __init__(self, per_second: int, sleep: Callable[[float], None]) -> None:
        self._per_second, self._sleep = per_second, sleep
        self._lock = threading.Lock()
        self._due = time.monotonic()
        self.piece = max(_LEAST, min(_MOST, per_second // _PIECES))
        """How much to read at once."""

    def took(self, amount: int) -> None:
        """Wait until `amount` bytes, which just came, are within the rate."""
        with self._lock:
            now = time.monotonic()
            # What was not used is gone: after a pause there is no burst.
            self._due = max(self._due, now) + amount / self._per_second
            wait = self._due - now
        self._sleep(wait)
