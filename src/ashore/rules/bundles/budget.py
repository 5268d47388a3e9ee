# SPDX-License-Identifier: Apache-2.0
"""What one template may use up of time and size. No I/O: the clock is given."""

from collections.abc import Callable

from jinja2.exceptions import SecurityError


class Budget:
    """What one template may use up. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float], seconds: float, size: int) -> None:
        self.clock = clock
        self.seconds = seconds
        self.deadline = clock() + seconds
        self.size = size
        self.passed = 0

    def tick(self) -> bool:
        if self.clock() > self.deadline:
            raise SecurityError(f"takes longer than {self.seconds:g} s")
        return True

    def fits(self, size: int) -> None:
        if size > self.size:
            raise SecurityError(f"makes a text or list of more than {self.size} characters or items")

    def passes(self, text: str) -> str:
        """Count text on its way out, also into a {% set %} block: those can double it again and again."""
        self.passed += len(text)
        self.fits(self.passed // 8)
        return text
