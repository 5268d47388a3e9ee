# SPDX-License-Identifier: Apache-2.0
"""What is written out beside other work: every descriptor is given back, every fault is told."""

import errno
import os
import threading
from pathlib import Path

import pytest

from ashore.mechanisms import syscalls
from ashore.mechanisms.stage.sync import Writeback


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_and_file_systems_are_written_and_nothing_stays_open(tmp_path: Path) -> None:
    before, threads = open_descriptors(), threading.active_count()
    writeback = Writeback()
    for number in range(5):
        with (tmp_path / str(number)).open("wb") as file:
            file.write(b"x" * 100_000)
            file.flush()
            writeback.file(file.fileno())
    folder = os.open(tmp_path, os.O_RDONLY)
    writeback.systems([folder])
    writeback.end()
    os.close(folder)
    assert (open_descriptors(), threading.active_count()) == (before, threads)
    writeback.end()  # nothing was asked for since


def test_a_fault_is_told_at_the_end_and_what_comes_after_it_is_closed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, "no disk")

    monkeypatch.setattr(syscalls, "syncfs", fails)
    before = open_descriptors()
    writeback = Writeback()
    writeback.systems([0])
    with (tmp_path / "a").open("wb") as file:
        writeback.file(file.fileno())
    with pytest.raises(OSError, match="no disk"):
        writeback.end()
    assert open_descriptors() == before


def test_a_slow_disk_does_not_hold_files_open_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    monkeypatch.setattr(syscalls, "start_writing", lambda _descriptor: slow.wait(60))
    before = open_descriptors()
    writeback = Writeback()
    with (tmp_path / "a").open("wb") as file:
        for _ in range(500):
            writeback.file(file.fileno())
        assert open_descriptors() - before < 100
        slow.set()
        writeback.end()
    assert open_descriptors() == before
