# SPDX-License-Identifier: Apache-2.0
"""That a boot is needed is remembered until it was done."""

from pathlib import Path

from ashore.mechanisms.pid1 import rebootneeded


def test_reasons_add_up_and_the_sign_is_written_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert rebootneeded.reasons(str(tmp_path)) == ()
    rebootneeded.need(str(tmp_path), ["the kernel"])
    rebootneeded.need(str(tmp_path), ["PID 1", "the kernel"])
    assert rebootneeded.reasons(str(tmp_path)) == ("the kernel", "PID 1")
    assert (tmp_path / rebootneeded.SIGN).read_text() == "*** System restart required ***\n"


def test_what_another_left_there_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / rebootneeded.SIGN).write_text("somebody's own words\n")
    rebootneeded.need(str(tmp_path), ["the kernel"])
    assert (tmp_path / rebootneeded.SIGN).read_text() == "somebody's own words\n"
