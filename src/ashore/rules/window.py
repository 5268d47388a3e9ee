# SPDX-License-Identifier: Apache-2.0
"""Whether a maintenance window is open, and when the next one opens. Pure: the moment is passed in."""

import datetime
from collections.abc import Callable, Sequence

from ashore.nouns.window import Window

_DAY = datetime.timedelta(days=1)


def is_open(windows: Sequence[Window], moment: datetime.datetime) -> bool:
    """Whether changes may be made at `moment`, an aware time of the host's zone; without windows they always may."""
    return not windows or any(_is_open(window, moment) for window in windows)


def next_opening(
    windows: Sequence[Window], moment: datetime.datetime, aware: Callable[[datetime.datetime], datetime.datetime]
) -> datetime.datetime:
    """When the next of `windows` opens; there must be one.

    `aware` says when it is what the host's clock shows: summer time may begin or end until then.
    """
    return min(_next(window, moment, aware) for window in windows)


def _is_open(window: Window, moment: datetime.datetime) -> bool:
    local = _local(window, moment)
    now, today, yesterday = local.hour * 60 + local.minute, local.weekday(), (local.weekday() - 1) % 7
    if window.begin < window.end:
        return today in window.days and window.begin <= now < window.end
    return (today in window.days and now >= window.begin) or (yesterday in window.days and now < window.end)


def _next(
    window: Window, moment: datetime.datetime, aware: Callable[[datetime.datetime], datetime.datetime]
) -> datetime.datetime:
    local = _local(window, moment).replace(tzinfo=None)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(8):
        begin = (midnight + days * _DAY).replace(hour=window.begin // 60, minute=window.begin % 60)
        if begin > local and begin.weekday() in window.days:
            return begin.replace(tzinfo=datetime.UTC) if window.utc else aware(begin)
    raise AssertionError("a window has a day")


def _local(window: Window, moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC) if window.utc else moment
