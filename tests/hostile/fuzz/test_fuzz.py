# SPDX-License-Identifier: Apache-2.0
"""Bytes from outside end in an answer: no uncaught exception, and none takes a second of this processor."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.fuzz.guided import MOST_SECONDS, corpus
from tests.hostile.fuzz.targets import CORPUS, TARGETS, Target, tried


def timed(target: Target, data: bytes) -> None:
    begun = time.process_time()
    tried(target, data)
    assert time.process_time() - begun < MOST_SECONDS


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A good input with a few places changed, cut, doubled or moved; or any bytes."""
    data = bytearray(draw(st.sampled_from((*seeds, b""))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 600)))
        match draw(st.sampled_from(["change", "insert", "cut", "double", "repeat", "number"])):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case "cut":
                del data[at:to]
            case "double":
                data[to:to] = data[at:to]
            case "repeat":
                data[at:to] = data[at:to] * draw(st.sampled_from((2, 30, 1000)))
            case "number" | _:
                data[at:to] = draw(
                    st.sampled_from((b"-1", b"0", b"99999999999999999999", b"1e999", b"NaN", b"\xff" * 12))
                )
    return bytes(data[: 1 << 17])


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_from_outside(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(mutated(target.seeds))
    def run(data: bytes) -> None:
        timed(target, data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_taken(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


def found() -> Iterator[str]:
    """Cases that were found once: a folder a target, a file a case."""
    for target in sorted(os.listdir(CORPUS)):
        yield from (f"{target}/{name}" for name in sorted(os.listdir(os.path.join(CORPUS, target))))


@pytest.mark.parametrize("name", TARGETS)
def test_what_coverage_led_to_is_answered(name: str) -> None:
    kept = corpus(name)
    assert kept, "make it: python -m tests.hostile.fuzz.guided NAME --keep"
    for data in kept:
        timed(TARGETS[name], data)


def test_the_fuzzer_that_goes_by_coverage_finds_a_planted_fault() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not made for this Python or processor")
    command = [sys.executable, "-m", "tests.hostile.fuzz.guided", "planted", "--seconds", "300"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ValueError: found" in done.stdout + done.stderr


@pytest.mark.parametrize("case", list(found()))
def test_what_was_found_once_is_answered(case: str) -> None:
    timed(TARGETS[case.partition("/")[0]], Path(CORPUS, case).read_bytes())
