# SPDX-License-Identifier: Apache-2.0
"""What follows a change that PID 1 carries out."""

from pathlib import Path

import pytest

from ashore.errors import AshoreError, BusyError, ChangedError, NotFollowedError, UnchangedError
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


@pytest.mark.parametrize(
    ("code", "kind"), [(7, UnchangedError), (8, ChangedError), (9, BusyError), (1, AshoreError), (0, None)]
)
def test_who_waits_for_a_change_that_is_killed_is_told_what_became_of_it(
    code: int, kind: type[AshoreError] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(argv: list[str], **_: object) -> int:
        request = str(tmp_path / argv[-1].lstrip("/"))
        assert handover.take_request(request) == b"{}"
        assert handover.take_request(request) is None, "it runs once more"
        handover.leave_ending(str(tmp_path), request, code, "the change was killed; so it went")
        return code

    monkeypatch.setattr(process, "run_attached", killed)
    (tmp_path / "run").mkdir()
    said: list[str] = []
    if kind is None:
        assert handover.hand_over(b"{}", root=str(tmp_path), command=["ashore"], say=said.append) == 0
        assert said[0].startswith("the change was killed; so it went; see why: journalctl -u ashore-")
    else:
        with pytest.raises(kind) as caught:
            handover.hand_over(b"{}", root=str(tmp_path), command=["ashore"])
        assert (caught.value.code, caught.value.cause) == (code, "the change was killed; so it went")
        assert "journalctl -u ashore-" in caught.value.remedy
    assert list((tmp_path / "run/ashore").iterdir()) == []


@pytest.mark.parametrize("code", [0, 7])
def test_no_failed_service_stays_behind_for_somebody_to_wonder_at(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def done(argv: list[str], **_: object) -> int:
        handover.take_request(str(tmp_path / argv[-1].lstrip("/")))
        return code

    monkeypatch.setattr(process, "run_attached", done)
    monkeypatch.setattr(process, "run", lambda argv, **_: ran.append(argv))
    (tmp_path / "run").mkdir()
    assert handover.hand_over(b"{}", root=str(tmp_path), command=["ashore"], enter=["nsenter"]) == code
    assert [argv[:3] for argv in ran] == ([["nsenter", "systemctl", "reset-failed"]] if code else [])


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ([("loaded", "failed"), ("loaded", "inactive"), ("not-found", "inactive")], 3),
        ([("not-found", "inactive")], 1),
        ([("loaded", "activating")], 1),
    ],
    ids=["still known", "free", "at work"],
)
def test_a_second_try_waits_until_the_name_is_free(
    told: list[tuple[str, str]], asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    looks = 0

    def run(argv: list[str], **_: object) -> process.Finished:
        nonlocal looks
        if "--property=LoadState" in argv:
            looks += 1
        load, active = told[max(looks, 1) - 1]
        said = f"{load}\n" if "--value" in argv else f"ActiveState={active}\n"
        return process.Finished(code=0, stdout=said.encode(), stderr="")

    def start(argv: list[str], **_: object) -> int:
        begun.append(looks)
        handover.take_request(str(tmp_path / argv[-1].lstrip("/")))
        return 0

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(process, "run_attached", start)
    (tmp_path / "run").mkdir()
    assert handover.hand_over(b"{}", root=str(tmp_path), command=["ashore"], identifier="settle") == 0
    assert begun == [asked]
