# SPDX-License-Identifier: Apache-2.0
"""Streams that are opened before their turn: in order, not too many, and none is left open."""

import contextlib
import threading

import pytest

from ashore.mechanisms.images.readahead import opened_ahead
from ashore.mechanisms.images.streams import BytesStream

MOST = 3


class Opener:
    """Counts what is open."""

    def __init__(self) -> None:
        self.open = self.peak = 0
        self.threads: list[bool] = []
        """Whether each was opened by a thread of its own."""
        self._lock = threading.Lock()

    def __call__(self, number: int) -> "Counted":
        if number == 99:
            raise ValueError("no such stream")
        with self._lock:
            self.open += 1
            self.threads.append(threading.current_thread() is not threading.main_thread())
            self.peak = max(self.peak, self.open)
        return Counted(self, number)

    def closed(self) -> None:
        with self._lock:
            self.open -= 1


class Counted(BytesStream):
    def __init__(self, opener: Opener, number: int) -> None:
        super().__init__(b"%d" % number)
        self._opener = opener

    def close(self) -> None:
        self._opener.closed()


@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_each_comes_in_its_turn_and_few_are_open(count: int) -> None:
    opener, buffer, found = Opener(), bytearray(9), []
    for number, stream in opened_ahead(opener, range(count), MOST):
        assert stream is not None
        found.append(int(buffer[: stream.readinto(buffer)]))
        assert found[-1] == number
        stream.close()
    assert found == list(range(count))
    assert opener.open == 0
    assert opener.peak <= MOST


def test_who_stops_leaves_nothing_open() -> None:
    opener = Opener()
    with contextlib.closing(opened_ahead(opener, range(20), MOST)) as streams:
        _, stream = next(streams)
        assert stream is not None
        stream.close()
    assert opener.open == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ashore-range")]


def test_a_fault_comes_in_its_turn() -> None:
    opener = Opener()
    with contextlib.closing(opened_ahead(opener, [0, 99, 1, 2], MOST)) as streams:
        _, stream = next(streams)
        assert stream is not None
        stream.close()
        with pytest.raises(ValueError, match="no such stream"):
            next(streams)
    assert opener.open == 0


def _opened(count: int, *seconds: float) -> list[bool]:
    """Whether threads opened each of `count` streams, where the first answers took so many seconds."""
    now, answers = 0.0, iter(seconds)
    opener = Opener()

    def clock() -> float:
        return now

    def open_it(number: int) -> Counted:
        nonlocal now
        now += next(answers, 0.001)
        return opener(number)

    found = []
    for number, stream in opened_ahead(open_it, range(count), MOST, clock):
        assert stream is not None
        found.append(number)
        stream.close()
    assert found == list(range(count))
    assert opener.open == 0
    return opener.threads


def test_a_near_registry_is_asked_for_one_after_the_other() -> None:
    assert not any(_opened(12))


def test_each_is_expected_once_and_before_its_turn() -> None:
    expected: list[int] = []
    for number, stream in opened_ahead(Opener(), range(40), 20, lambda: 0.0, expect=expected.append, soon=7):
        assert stream is not None
        assert number < len(expected) <= number + 7
        stream.close()
    assert expected == list(range(40))


def test_a_far_one_is_asked_for_several_as_soon_as_that_is_seen() -> None:
    assert _opened(8, 0.02) == [False, *[True] * 7]
    assert _opened(8, 0.001, 0.001, 0.5) == [*[False] * 3, *[True] * 5]


def test_many_are_asked_for_several_at_a_time_anyway() -> None:
    assert all(_opened(4 * MOST + 1))
