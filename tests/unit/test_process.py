# SPDX-License-Identifier: Apache-2.0
"""Other programs: what they are told and what they say."""

from ashore.mechanisms.process import run


def test_a_program_may_be_slow_to_read_what_it_is_told() -> None:
    told = b"x" * 300_000  # more than a pipe holds
    assert run(["sh", "-c", "sleep 0.7; wc -c"], seconds=10, stdin=told).stdout.split() == [b"300000"]


def test_a_program_that_is_told_nothing_reads_the_end() -> None:
    assert run(["cat"], seconds=10).stdout == b""
