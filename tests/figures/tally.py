# SPDX-License-Identifier: Apache-2.0
"""What a harness prints: one line a figure, `title: passed / tried`; what failed goes to standard error."""

import sys
from collections.abc import Iterable

_SHOWN = 20


class Tally:
    """One figure. It is `expected` to be whole, or, a control or a peer, not to be."""

    def __init__(self, title: str, *, expected: bool = True) -> None:
        self.title, self.expected = title, expected
        self.passed = self.tried = 0

    def count(self, passed: bool, otherwise: str) -> None:
        """One try; `otherwise` says what went wrong with it."""
        self.tried += 1
        self.passed += passed
        if not passed and self.expected and self.tried - self.passed <= _SHOWN:
            print(f"FAILED {self.title}: {otherwise}", file=sys.stderr, flush=True)

    @property
    def whole(self) -> bool:
        """Nothing failed, and something was tried."""
        return self.tried > 0 and self.passed == self.tried


def tell(tallies: Iterable[Tally]) -> int:
    """Print the figures. The exit code is 1 if one is not as expected: also for a control that saw nothing fail."""
    surprises = 0
    for tally in tallies:
        print(f"{tally.title}: {tally.passed:,} / {tally.tried:,}", flush=True)
        surprises += tally.whole != tally.expected
    return 1 if surprises else 0
