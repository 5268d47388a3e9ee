# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or read-only: said, and the host is as it was."""

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.acts.transaction import stage
from ashore.mechanisms.stage import supply
from tests.cli.shell import Shell, refused
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply
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


@contextlib.contextmanager
def _mounted(disk: Path, target: Path) -> Iterator[None]:
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(disk), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


@ROOT
@pytest.mark.parametrize("compression", ["zstd:chunked", "gzip"])
def test_what_is_too_large_for_a_mount_is_told_by_that(
    small_disk: Path, shell: Shell, registry: FakeRegistry, compression: str
) -> None:
    """Its tables tell before it is fetched; where there are none, the file and the mount that had no room."""
    bundle = shell.bundle("app", {f"opt/app/{n}": os.urandom(2_000_000).hex() for n in range(5)} | {"etc/app": "x"})
    image = f"{registry.host}/team/app:1"
    assert shell.ashore("build", str(bundle), "-t", image, "--push", "--compression", compression).code == 0
    registry.seen.clear()
    with _mounted(small_disk, shell.root / "opt"):
        with shell.unchanged():
            ran = shell.on_root("install", image)
        assert _left_in(shell) == []
    refused(ran, 7, "space", "make room", "/opt", "ashore prune")
    if compression == "gzip":
        assert "/opt/app/" in ran.err
        return
    assert f"/opt: too little space: {5 * 4_000_000 + (4 << 20)} bytes are needed" in ran.err
    blobs = [seen for seen in registry.seen if "/blobs/" in seen.path]
    assert all("Range" in seen.headers for seen in blobs[1:]), "nothing but the config is asked for as a whole"


@ROOT
def test_a_registry_that_tells_nothing_beforehand_is_asked_for_the_whole(
    small_disk: Path, shell: Shell, registry: FakeRegistry
) -> None:
    """On a small disk tables are asked first; somebody on the way may refuse parts, and give all there is."""
    image = f"{registry.host}/team/app:1"
    bundle = shell.bundle("app", {"opt/app": os.urandom(1_500_000).hex()})
    assert shell.ashore("build", str(bundle), "-t", image, "--push").code == 0
    refusing: list[Reply] = []

    def refuse(reply: Reply) -> Reply:
        if reply.status == 206:
            refusing.append(reply)
            return Reply(403)
        return reply

    registry.misbehave("blobs", refuse, times=100, method="GET")
    with _mounted(small_disk, shell.root / "opt"):
        assert shell.on_root("install", image).code == 0
        assert (shell.root / "opt/app").stat().st_size == 3_000_000
    assert refusing, "its table was asked for"


@ROOT
def test_what_an_upgrade_lacks_is_refused_before_it_is_taken(
    small_disk: Path, shell: Shell, registry: FakeRegistry
) -> None:
    """Of an image that comes in parts, the plan knows beforehand what will come, and where to."""
    files = {f"srv/{n}": os.urandom(1_000_000).hex() for n in range(5)}
    for version, more in ((1, {}), (2, {"opt/big": os.urandom(1_500_000).hex()})):
        tag = f"{registry.host}/team/app:{version}"
        bundle = shell.bundle(f"v{version}", files | more, 'name = "app"\n')
        assert shell.ashore("build", str(bundle), "-t", tag, "--push").code == 0
    assert shell.on_root("install", f"{registry.host}/team/app:1").code == 0
    (small_disk / "fill").write_bytes(bytes(7_000_000))
    with _mounted(small_disk, shell.root / "opt"), shell.unchanged():
        refused(shell.on_root("install", f"{registry.host}/team/app:2"), 7, "/opt: too little space")


@ROOT
def test_names_of_one_file_need_its_room_once(small_disk: Path, shell: Shell, registry: FakeRegistry) -> None:
    """As programs have it that are one under many names: each of them has its size in the tables, and in the plan."""
    files = {f"srv/{n}": os.urandom(1_000_000).hex() for n in range(5)}
    for version, more in ((1, {}), (2, {"opt/a": os.urandom(1_000_000).hex()})):
        tag = f"{registry.host}/team/app:{version}"
        bundle = shell.bundle(f"v{version}", files | more, 'name = "app"\n')
        for name in "bc" if more else "":
            os.link(bundle / "root/opt/a", bundle / f"root/opt/{name}")
        assert shell.ashore("build", str(bundle), "-t", tag, "--push").code == 0
    assert shell.on_root("install", f"{registry.host}/team/app:1").code == 0
    with _mounted(small_disk, shell.root / "opt"):
        assert shell.on_root("install", f"{registry.host}/team/app:2").code == 0
        assert os.stat(shell.root / "opt/a").st_nlink == 3
        assert shell.on_root("remove", "app").code == 0


@ROOT
def test_too_little_space_is_told_with_what_has_to_stay_free(small_disk: Path, shell: Shell) -> None:
    """What an upgrade brings is fetched in parts, or lies here: the plan tells what room it needs."""
    image = shell.image("app", {"opt/app": "x" * 400_000, "etc/app": "y"})
    (small_disk / "fill").write_bytes(bytes(4_200_000))
    with _mounted(small_disk, shell.root / "opt"), shell.unchanged():
        (shell.folder / "cache").mkdir(exist_ok=True)
        assert shell.on_root("plan", image).code == 0  # it is in the cache from now on, so that nothing is streamed
        ran = shell.on_root("install", image)
        refused(ran, 7, f"{400_000 + (4 << 20)} bytes are needed, {4 << 20} of them to spare", "/opt: ")


@ROOT
def test_a_mount_that_is_read_only_and_has_nothing_free_is_told_as_read_only(small_disk: Path, shell: Shell) -> None:
    """As one of an image has it, where nobody can make room."""
    image = shell.image("app", {"opt/app": "x", "etc/app": "y"})
    with contextlib.suppress(OSError), open(small_disk / "fill", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with _mounted(small_disk, shell.root / "opt"), shell.unchanged():
        subprocess.run(["mount", "-o", "remount,bind,ro", str(shell.root / "opt")], check=True)
        (shell.folder / "cache").mkdir(exist_ok=True)
        assert shell.on_root("plan", image).code == 0  # it is in the cache from now on, so that nothing is streamed
        ran = shell.on_root("install", image)
        refused(ran, 7, "/opt: it is read-only", "remount it")
        assert "space" not in ran.err


@ROOT
def test_what_cannot_be_staged_is_named(small_disk: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered files are written when everything is staged, and the last sync may be what finds the disk broken."""
    image = shell.image("app", {"opt/app.j2": "{{ facts.hostname }}", "etc/app": "y"})

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with _mounted(small_disk, shell.root / "opt"), shell.unchanged():
        with monkeypatch.context() as context:
            context.setattr(supply, "copy", broken)
            refused(
                shell.on_root("install", image), 7, "/opt/app cannot be written", "mounted at /opt", "journalctl -k"
            )
        with monkeypatch.context() as context:
            context.setattr(stage, "sync_staged", broken)
            refused(shell.on_root("install", image), 7, "what was staged", "/opt", "journalctl -k")


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
