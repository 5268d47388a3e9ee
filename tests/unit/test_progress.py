# SPDX-License-Identifier: Apache-2.0
"""What is said of long work where nobody sees bars."""

import pytest

from ashore.cli.progress import Lines


@pytest.mark.parametrize(
    ("came", "said"),
    [(9_000_000, "a: done, 9.0 MB\n"), (3_000_000, "a: ended at 3.0 MB of 9.0 MB\n"), (0, "")],
    ids=["all", "a part", "nothing"],
)
def test_only_what_came_whole_is_done(came: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.begin("a", 9_000_000)
    lines.advance("a", came)
    lines.end("a")
    assert capsys.readouterr().err == said
