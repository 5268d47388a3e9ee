# SPDX-License-Identifier: Apache-2.0
"""Amounts of bytes: what people write, and what they read."""

import pytest

from ashore.nouns.amounts import parse_rate, size


@pytest.mark.parametrize(
    ("text", "rate"), [("1", 1), ("500k", 500_000), ("500K", 500_000), ("1.5M", 1_500_000), ("2MB", 2_000_000)]
)
def test_a_rate_is_bytes_a_second(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "fast", "-1", "1.k", "0.1", "1e9", "12345678901"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        parse_rate(text)


def test_a_size_has_one_digit_after_its_point() -> None:
    assert [size(n) for n in (999, 1_200, 86_000_000)] == ["999 B", "1.2 kB", "86.0 MB"]
