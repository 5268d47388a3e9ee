# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or read-only: said, and the host is as it was."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell, refused
from tests.flow.test_bad_input import ROOT


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own with 8 MB."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@ROOT
def test_a_disk_that_is_full(tmp_path: Path, small_disk: Path, shell: Shell) -> None:
    """Both where space is short from the start, and where it runs out while the layers stream in."""
    cramped = Shell(small_disk / "there")
    first = shell.image("app", {"etc/app": "one\n"})
    assert cramped.on_root("install", first).code == 0
    big = {"etc/app": "two\n", "opt/big": os.urandom(9_000_000).hex()[:9_000_000]}
    image = shell.image("big/app", big, 'name = "app"\n')
    with cramped.unchanged():
        refused(cramped.on_root("install", image), 7, "space")
    assert cramped.on_root("status").code == 0
    assert _left_in(cramped) == []
    assert cramped.on_root("remove", "app").code == 0


@ROOT
def test_a_disk_that_is_full_on_the_way(small_disk: Path, shell: Shell) -> None:
    """The state lies elsewhere than the target, so the files are streamed to the mount that has no room."""
    image = shell.image("app", {"opt/small/big": os.urandom(9_000_000).hex()[:9_000_000], "etc/app": "x"})
    target = shell.root / "opt/small"
    target.mkdir()
    subprocess.run(["mount", "--bind", str(small_disk), str(target)], check=True)
    try:
        with shell.unchanged():
            refused(shell.on_root("install", image), 7, "space")
        assert _left_in(shell) == []
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


@ROOT
def test_a_disk_without_room_for_the_state(small_disk: Path, shell: Shell) -> None:
    image = shell.image("app", {"etc/app": "x"})
    (small_disk / "fill").write_bytes(bytes(7_000_000))
    with contextlib.suppress(OSError), open(small_disk / "rest", "wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    (shell.root / "var/lib/ashore").mkdir()
    subprocess.run(["mount", "--bind", str(small_disk), str(shell.root / "var/lib/ashore")], check=True)
    try:
        with shell.unchanged():
            refused(shell.on_root("install", image), 7, "space")
    finally:
        subprocess.run(["umount", "--lazy", str(shell.root / "var/lib/ashore")], check=True)


@ROOT
@pytest.mark.parametrize("target", ["opt", ""], ids=["a folder of the host", "the whole host"])
def test_a_target_that_is_read_only(shell: Shell, target: str) -> None:
    image = shell.image("app", {"opt/bin/app": "x", "etc/app": "y"})
    folder = shell.root / target
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        with shell.unchanged():
            ran = shell.on_root("install", image)
            refused(ran, 7)
            assert "read-only" in ran.err.lower()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _left_in(shell: Shell) -> list[str]:
    """Staging folders and journals that a failure should not leave."""
    state = shell.root / "var/lib/ashore"
    found = [str(p) for p in shell.root.rglob(".ashore")]
    return found + [str(p) for name in ("journal*", "stage/*", "*.new") for p in state.glob(name)]
