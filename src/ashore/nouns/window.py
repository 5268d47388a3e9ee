# SPDX-License-Identifier: Apache-2.0
"""A maintenance window as people write it: ``Mon..Fri 02:00-04:00``, ``Sat,Sun 22:00-06:00 UTC``, ``03:00-05:00``."""

import re

import msgspec

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TEXT = re.compile(r"(?:(\S+)\s+)?(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)(?:\s+(UTC))?", re.IGNORECASE)
PATTERN = r"^\s*(\S+\s+)?\d{1,2}:\d\d\s*-\s*\d{1,2}:\d\d(\s+[Uu][Tt][Cc])?\s*$"
"""The shape, for a JSON Schema."""


class Window(msgspec.Struct, frozen=True):
    """`days` are 0 (Monday) to 6, `begin` and `end` minutes since midnight; it ends on the next day if not later."""

    days: frozenset[int]
    begin: int
    end: int
    utc: bool = False


def parse(text: str) -> Window:
    """Read a window; a day's name may be written out, and each day is meant where none is named.

    Raises:
        ValueError: what is wrong with it.
    """
    found = _TEXT.fullmatch(text.strip())
    if not found:
        raise ValueError(f'{text!r} is not a window: write it like "Mon..Fri 02:00-04:00"')
    named, *times, utc = found.groups()
    begin, end = (_minutes(hour, minute, text) for hour, minute in (times[:2], times[2:]))
    if begin == end or begin == 24 * 60:
        raise ValueError(f"{text!r} is never open")
    return Window(_days(named, text) if named else frozenset(range(7)), begin, end, utc is not None)


def _minutes(hour: str, minute: str, text: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > 24 * 60:
        raise ValueError(f"{text!r}: {hour}:{minute} is no time of day")
    return minutes


def _days(named: str, text: str) -> frozenset[int]:
    """``Mon..Wed,Sat``; a range may pass the end of the week."""
    found: set[int] = set()
    for part in named.split(","):
        first, _, last = part.partition("..")
        begin, end = _day(first, text), _day(last or first, text)
        found |= {(begin + offset) % 7 for offset in range((end - begin) % 7 + 1)}
    return frozenset(found)


def _day(name: str, text: str) -> int:
    short = name[:3].title()
    if short in DAYS and name.lower() in (short.lower(), _IN_FULL[short]):
        return DAYS.index(short)
    raise ValueError(f"{text!r}: {name!r} is no day of the week: Mon, Tue, Wed, Thu, Fri, Sat, Sun")


_IN_FULL = dict(zip(DAYS, ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), strict=True))
