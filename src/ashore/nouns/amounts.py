# SPDX-License-Identifier: Apache-2.0
"""Amounts of bytes as people write and read them."""

import re

_RATE = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?([kMG]?)i?B?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def size(amount: int) -> str:
    """Bytes for people: ``1.2 MB``."""
    if amount < 1000:
        return f"{amount} B"
    value = float(amount)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000 or unit == "GB":
            break
    return f"{value:.1f} {unit}"


def parse_rate(text: str) -> int:
    """``"1.5M"`` -> 1,500,000 bytes a second; ``500k``, ``2MB`` and plain bytes as well.

    Raises:
        ValueError: it is no such amount, or nothing.
    """
    found = _RATE.fullmatch(text.strip().replace("K", "k"))
    rate = float(f"{found[1]}.{found[2] or 0}") * _UNITS[found[3]] if found else 0
    if rate < 1:
        raise ValueError(f"not a rate: {text!r}; write bytes a second, like 500k or 2M")
    return int(rate)
