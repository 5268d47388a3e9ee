# SPDX-License-Identifier: Apache-2.0
"""Times as people write them: ``90s``, ``5m``, ``1h30m``; and moments, as records have them."""

import datetime
import re

MOMENT = "%Y-%m-%dT%H:%M:%SZ"
"""UTC, RFC 3339."""
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


def after(moment: str, seconds: float) -> str:
    """``"2026-01-01T00:00:00Z"``, 90.0 -> ``"2026-01-01T00:01:30Z"``."""
    return (datetime.datetime.strptime(moment, MOMENT) + datetime.timedelta(seconds=seconds)).strftime(MOMENT)
