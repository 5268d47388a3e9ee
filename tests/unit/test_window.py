# SPDX-License-Identifier: Apache-2.0
import datetime
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.nouns.window import DAYS, Window, parse
from ashore.rules.window import is_open, next_opening

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
EVERY = frozenset(range(7))


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("Mon..Fri 02:00-04:00", Window(frozenset(range(5)), 120, 240)),
        ("02:00-04:00", Window(EVERY, 120, 240)),
        ("Sat,Sun 22:00-06:00 UTC", Window(frozenset({5, 6}), 1320, 360, utc=True)),
        ("Fri..Mon 0:00-24:00", Window(frozenset({4, 5, 6, 0}), 0, 1440)),
        ("tuesday,sat..sun 9:30 - 10:00", Window(frozenset({1, 5, 6}), 570, 600)),
    ],
)
def test_a_window_as_people_write_it(text: str, window: Window) -> None:
    assert parse(text) == window


@pytest.mark.parametrize(
    "text",
    ["", "Mon", "Mon 02:00", "02:00-25:00", "02:60-03:00", "Mond 02:00-03:00", "2:00-2:00", "24:00-1:00", "Mon Tue 1:00-2:00"],  # noqa: E501
)  # fmt: skip
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match=text or "''"):
        parse(text)


def at(day: str, time: str) -> datetime.datetime:
    """A moment of the first week of June 2026, which begins on a Monday."""
    return datetime.datetime.fromisoformat(f"2026-06-0{DAYS.index(day) + 1}T{time}:00").replace(tzinfo=BERLIN)


def in_berlin(shown: datetime.datetime) -> datetime.datetime:
    return shown.replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "day", "time", "opened"),
    [
        ("Mon..Fri 02:00-04:00", "Mon", "02:00", True),
        ("Mon..Fri 02:00-04:00", "Mon", "03:59", True),
        ("Mon..Fri 02:00-04:00", "Mon", "04:00", False),
        ("Mon..Fri 02:00-04:00", "Sat", "03:00", False),
        ("Sat 22:00-06:00", "Sat", "23:00", True),
        ("Sat 22:00-06:00", "Sun", "05:59", True),
        ("Sat 22:00-06:00", "Sun", "22:00", False),
        ("Sat 22:00-06:00", "Sat", "05:00", False),
        ("02:00-04:00 UTC", "Mon", "05:00", True),
        ("02:00-04:00 UTC", "Mon", "03:00", False),
        ("Mon 0:00-24:00", "Mon", "23:59", True),
    ],
)
def test_a_window_is_open_on_its_days_and_past_midnight(text: str, day: str, time: str, opened: bool) -> None:
    assert is_open([parse(text)], at(day, time)) is opened


def test_without_a_window_it_is_always_time_and_one_of_several_is_enough() -> None:
    assert is_open([], at("Mon", "12:00"))
    assert is_open([parse("01:00-02:00"), parse("11:00-13:00")], at("Mon", "12:00"))


def test_the_next_opening() -> None:
    windows = [parse("Mon 02:00-04:00"), parse("Wed 12:00-13:00")]
    assert next_opening(windows, at("Mon", "02:00"), in_berlin) == at("Wed", "12:00")
    assert next_opening(windows, at("Sun", "23:00"), in_berlin) == at("Mon", "02:00") + datetime.timedelta(days=7)
    assert next_opening([parse("02:00-04:00 UTC")], at("Mon", "03:00"), in_berlin) == at("Mon", "04:00")


@pytest.mark.parametrize(
    ("now", "text", "opens"),
    [
        ("2026-10-24T22:00:00+02:00", "Sun 03:30-04:30", "2026-10-25T03:30:00+01:00"),
        ("2026-03-28T22:00:00+01:00", "Sun 03:30-04:30", "2026-03-29T03:30:00+02:00"),
        ("2026-10-24T22:00:00+02:00", "Sun 03:30-04:30 UTC", "2026-10-25T04:30:00+01:00"),
    ],
)
def test_the_next_opening_is_told_by_the_time_that_it_will_be(now: str, text: str, opens: str) -> None:
    """The moment says how far the zone is from UTC now; summer time ends, or begins, in between."""
    found = next_opening([parse(text)], datetime.datetime.fromisoformat(now), in_berlin)
    assert found.astimezone(BERLIN).isoformat() == opens


@given(
    days=st.sets(st.integers(0, 6), min_size=1),
    begin=st.integers(0, 1439),
    length=st.integers(1, 1439),
    minutes=st.integers(0, 7 * 1440),
)
def test_what_opens_next_is_open_then_and_was_not_a_minute_before(
    days: set[int], begin: int, length: int, minutes: int
) -> None:
    window = Window(frozenset(days), begin, (begin + length) % 1440)
    moment = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=minutes)
    opens = next_opening([window], moment, lambda shown: shown.replace(tzinfo=datetime.UTC))
    assert moment < opens <= moment + datetime.timedelta(days=8)
    assert is_open([window], opens)
    assert not is_open([window], opens - datetime.timedelta(minutes=1)) or length == 1439 or len(days) > 1
