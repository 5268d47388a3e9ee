# SPDX-License-Identifier: Apache-2.0
"""What follows a change that PID 1 carries out."""

from pathlib import Path

import pytest

from ashore.errors import NotFollowedError
from ashore.mechanisms import process
from ashore.mechanisms.pid1 import handover


def test_who_presses_ctrl_c_ends_as_an_interrupt_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "run_attached", interrupted)
    (tmp_path / "run").mkdir()
    with pytest.raises(NotFollowedError, match="the change goes on") as caught:
        handover.hand_over(b"{}", root=str(tmp_path), command=["ashore"])
    assert int(caught.value.code) == 130
    assert "systemctl status ashore-" in caught.value.remedy
