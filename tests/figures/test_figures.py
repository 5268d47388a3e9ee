# SPDX-License-Identifier: Apache-2.0
"""No figure stands in docs/reliability.md that its command did not print."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.figures import __main__ as figures
from tests.figures.__main__ import PAGE, Figure, Result, table, write
from tests.figures.rows import HARNESSES, Harness
from tests.figures.tally import Tally, tell


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.command)
def test_every_harness_is_a_module(harness: Harness) -> None:
    assert importlib.util.find_spec(harness.module) is not None


def test_what_stands_in_the_page_is_what_was_printed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    result = Result(HARNESSES[0].command, (Figure("killed", "1,041", "1,041"),), True, 61.0, commit="abc1234")
    write(table([(HARNESSES[0], result)], [HARNESSES[1]]), page)
    text = page.read_text(encoding="utf-8")
    assert f"| killed | 1,041 / 1,041 | `{HARNESSES[0].command}` |" in text
    assert "1 min, commit abc1234.\n" in text
    assert f"### Not run yet\n\n- `{HARNESSES[1].command}`" in text
    assert len(re.findall(r"[\d,]+ / [\d,]+", text)) == 1, "figures stand outside the place that is written"


def test_what_was_printed_is_kept_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "KEPT", tmp_path)
    figure, harness = (Figure("killed", "1", "1"),), HARNESSES[0]
    assert figures.kept(harness) is None
    for result, again in (
        (Result(harness.command, figure, True, 1.0, figures.source()), False),
        (Result(harness.command, figure, False, 1.0, figures.source()), True),
        (Result(harness.command, figure, True, 1.0, "another"), True),
    ):
        figures.keep(harness, result)
        assert (figures.kept(harness) is None) == again
        assert (figures.kept(harness, of_any=True) is None) == (not result.expected)
    assert figures.kept(HARNESSES[1]) is None


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
