# SPDX-License-Identifier: Apache-2.0
"""Times as people write them: ``90s``, ``5m``, ``1h30m``."""

import re

_DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")


def seconds_of(text: str) -> float | None:
    """``"1h30m"`` -> 5400.0; None if it is no time."""
    found = _DURATION.fullmatch(text)
    if not text or not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def duration(seconds: float) -> str:
    """5400.0 -> ``"1h30m"``."""
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"
