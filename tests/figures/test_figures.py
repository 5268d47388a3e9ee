# SPDX-License-Identifier: Apache-2.0
"""No figure stands in docs/reliability.md that its command did not print."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.figures.__main__ import PAGE, Figure, Result, table, write
from tests.figures.rows import HARNESSES, Harness
from tests.figures.tally import Tally, tell


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.command)
def test_every_harness_is_a_module(harness: Harness) -> None:
    assert importlib.util.find_spec(harness.module) is not None


def test_what_stands_in_the_page_is_what_was_printed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    result = Result(HARNESSES[0], (Figure("killed", "1,041", "1,041"),), True, 61.0)
    write(table([result]), page)
    text = page.read_text(encoding="utf-8")
    assert f"| killed | 1,041 / 1,041 | `{HARNESSES[0].command}` |" in text
    assert len(re.findall(r"[\d,]+ / [\d,]+", text)) == 1, "figures stand outside the place that is written"


def test_a_control_that_sees_nothing_fail_is_no_control(capsys: pytest.CaptureFixture[str]) -> None:
    control, promise = Tally("control", expected=False), Tally("promise")
    for tally in (control, promise):
        tally.count(True, "")
    assert tell([promise]) == 0
    assert tell([control]) == 1
    control.count(False, "")
    promise.count(False, "it broke")
    assert tell([control]) == 0
    assert tell([promise]) == 1
    assert "FAILED promise: it broke" in capsys.readouterr().err
