# SPDX-License-Identifier: Apache-2.0
"""What came of an image before a run was broken off is not fetched again by the next one."""

import errno
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ashore.cli import run
from ashore.mechanisms.images.cache import Cache
from ashore.mechanisms.stage.intake import StagedFile
from ashore.nouns.digest import Digest, of
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_replies import Reply, answer, cut, stalled
from tests.flow.machine import snapshot
from tests.flow.test_partial import bundle, cache, host, install, largest, publish

__all__ = ["cache", "host"]

_SMALL = 100_000
"""Bytes: layers are larger, what else is asked for is not."""


def breaks_at(registry: FakeRegistry, share: float) -> None:
    """Of a layer that much comes, and nothing that is asked for afterwards."""

    def part(reply: Reply) -> Reply:
        if reply.status == 206:
            return answer(404)(reply)
        return cut(int(share * len(reply.body)))(reply) if len(reply.body) > _SMALL else reply

    registry.misbehave("blobs", part, times=1000)


def breaks_after(registry: FakeRegistry, count: int) -> None:
    """So many bytes of blobs come, and nothing that is asked for afterwards."""
    left = count

    def part(reply: Reply) -> Reply:
        nonlocal left
        if left <= 0:
            return answer(404)(reply)
        left -= len(reply.body)
        return reply if left > 0 else cut(len(reply.body) + left)(reply)

    registry.misbehave("blobs", part, times=1000)


def interrupted(monkeypatch: pytest.MonkeyPatch, reference: str, host: Path, *, at: int) -> int:
    """The code of an install with a Ctrl-C when so many files have come."""
    commit, left = StagedFile.commit, at

    def counted(file: StagedFile, digest: Digest, size: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        commit(file, digest, size)

    with monkeypatch.context() as patch:
        patch.setattr(StagedFile, "commit", counted)
        return install(reference, host)


def asked(registry: FakeRegistry) -> int:
    """Bytes of blobs, by the ranges that were asked for."""
    total = 0
    for seen in registry.seen:
        if "/blobs/" in seen.path and seen.method == "GET":
            first, _, last = seen.headers.get("Range", "").removeprefix("bytes=").partition("-")
            blob = next(b for blobs in registry.blobs.values() for d, b in blobs.items() if seen.path.endswith(d))
            total += int(last) - int(first) + 1 if last else len(blob)
    return total


def anew(tmp_path: Path, reference: str) -> dict[str, tuple[object, ...]]:
    """A host on which nothing was ever broken off."""
    root = tmp_path / "anew"
    (root / "var/lib").mkdir(parents=True)
    assert install(reference, root) == 0
    return snapshot(root)


def begun_in_a_terminal(*arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """A command line with a terminal as its output, and that terminal's other end."""
    ours, terminal = pty.openpty()
    # Whoever runs the tests may have these signals ignored: in the background, with nohup.
    command = ["env", "--default-signal=INT,HUP", sys.executable, "-m", "ashore", *arguments]
    running = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    return running, ours


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_goes_back_and_the_next_run_goes_on(
    registry: FakeRegistry, tmp_path: Path, host: Path, number: signal.Signals
) -> None:
    first = publish(registry, tmp_path, 1)
    before = snapshot(host)
    most = stalled(len(largest(registry)) * 9 // 10)
    registry.misbehave("blobs", lambda reply: most(reply) if len(reply.body) > _SMALL else reply, times=1000)
    running, terminal = begun_in_a_terminal("install", first, "--root", str(host))
    ends = time.monotonic() + 60
    while len(list(host.rglob("f[0-9]*"))) < 200 and time.monotonic() < ends:
        time.sleep(0.05)
    running.send_signal(number)
    if number == signal.SIGHUP:
        os.close(terminal)
    assert running.wait(30) == 130
    assert snapshot(host) == before
    assert not list(host.rglob("stage/*")) and not list(host.rglob("f[0-9]*"))
    said = "" if number == signal.SIGHUP else os.read(terminal, 1 << 20).decode()
    registry.behave()
    assert install(first, host) == 0
    assert asked(registry) < 0.5 * len(largest(registry)), said
    if number != signal.SIGHUP:
        os.close(terminal)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_first_install_goes_on_where_the_one_before_was_broken_off(
    registry: FakeRegistry, tmp_path: Path, host: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    first = publish(registry, tmp_path, 1)
    before = snapshot(host)
    breaks_at(registry, share)
    assert install(first, host) == 4
    assert "kB that have come are kept for the next run" in capsys.readouterr().err
    assert snapshot(host) == before
    assert not list(host.rglob("stage/*")) and not list(host.rglob("f[0-9]*"))
    registry.behave()
    assert install(first, host) == 0
    assert asked(registry) < (1.1 - share) * len(largest(registry))
    assert not list((tmp_path / "cache").glob("*-*/*")), "and nothing of it is kept any longer"
    assert snapshot(host) == anew(tmp_path, first)


def test_next_to_nothing_is_not_gone_on_with(
    registry: FakeRegistry,
    tmp_path: Path,
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = publish(registry, tmp_path, 1)
    assert interrupted(monkeypatch, first, host, at=12) == 130
    assert "are kept" not in capsys.readouterr().err
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "cache").glob("*-*/*")) < 0.05 * len(largest(registry))
    registry.behave()
    assert install(first, host) == 0
    assert not [seen for seen in registry.seen if "Range" in seen.headers]


def test_of_what_never_came_nothing_is_kept(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    first = publish(registry, tmp_path, 1)
    breaks_at(registry, 0)
    assert install(first, host) == 4
    assert not list((tmp_path / "cache").glob("*-*")), "an empty image would make others leave the cache"


def test_several_runs_get_there_together(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    first = publish(registry, tmp_path, 1)
    breaks_at(registry, 0.3)
    assert install(first, host) == 4
    registry.behave()
    breaks_after(registry, 300_000)
    assert install(first, host) == 4
    registry.behave()
    assert install(first, host) == 0
    assert asked(registry) < 0.7 * len(largest(registry))
    assert snapshot(host) == anew(tmp_path, first)


def much_changed(registry: FakeRegistry, tmp_path: Path, host: Path) -> str:
    """Version 1 is installed; returns a version 2 of which two fifths are new."""
    assert install(publish(registry, tmp_path, 1), host) == 0
    folder, numbers = bundle(tmp_path, 2), random.Random(2)
    for path in sorted((folder / "root/opt/share").glob("d[0-2]/*")):
        path.write_bytes(numbers.randbytes(3000))
    second = f"{registry.host}/k8s/many:2"
    assert run(["build", str(folder), "-t", second, "--push"]) == 0
    return second


def test_an_update_goes_on_as_well(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    second = much_changed(registry, tmp_path, host)
    before = snapshot(host)
    breaks_after(registry, 200_000)
    assert install(second, host) == 4
    assert snapshot(host) == before
    registry.behave()
    assert install(second, host) == 0
    assert asked(registry) < 0.35 * len(largest(registry)), "of the two fifths that changed, half was there"
    assert snapshot(host) == anew(tmp_path, second)


def test_a_way_back_that_lacks_contents_and_is_broken_off_says_which_and_goes_on(
    registry: FakeRegistry, tmp_path: Path, host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(much_changed(registry, tmp_path, host), host) == 0
    for stored in (host / "var/lib/ashore/content/sha256").glob("*/*"):
        if stored.stat().st_size == 3000:
            stored.unlink()  # what was rendered is in no image
    before = snapshot(host)
    breaks_after(registry, 200_000)
    assert run(["rollback", "--root", str(host)]) == 7
    error = capsys.readouterr().err
    assert "contents are nowhere to be had" in error and "/opt/share/d" in error, error
    assert snapshot(host) == before
    registry.behave()
    assert run(["rollback", "--root", str(host)]) == 0
    assert asked(registry) < 0.35 * len(largest(registry))
    assert snapshot(host) == anew(tmp_path, f"{registry.host}/k8s/many:1")


def test_ctrl_c_keeps_what_has_come(
    registry: FakeRegistry, tmp_path: Path, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(registry, tmp_path, 1)
    assert interrupted(monkeypatch, first, host, at=200) == 130
    registry.behave()
    assert install(first, host) == 0
    assert asked(registry) < 0.5 * len(largest(registry))


def test_what_a_power_cut_left_of_it_is_fetched_again(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    first = publish(registry, tmp_path, 1)
    breaks_at(registry, 0.8)
    assert install(first, host) == 4
    for number, path in enumerate(sorted((tmp_path / "cache").glob("*-*/*"))):
        if number % 3 == 0:
            os.truncate(path, 10)
        elif number % 3 == 1:
            path.write_bytes(b"x" * path.stat().st_size)
    registry.behave()
    assert install(first, host) == 0
    assert snapshot(host) == anew(tmp_path, first)


def test_of_a_layer_without_a_table_nothing_is_kept(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    first = publish(registry, tmp_path, 1, compression="gzip")
    breaks_at(registry, 0.8)
    assert install(first, host) == 4
    assert not list((tmp_path / "cache").glob("*-*/*")), "it could not be fetched around"


def test_a_file_of_another_mount_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f1").write_text("one")
    rename = os.rename

    def elsewhere(source: str, target: str, **at: int) -> None:
        if at:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", elsewhere)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        Cache(str(tmp_path / "cache")).take("key", [(of(b"one"), folder, "f1")])
    finally:
        os.close(folder)
    (kept,) = (tmp_path / "cache/key").iterdir()
    assert kept.read_text() == "one" and kept.name == of(b"one").partition(":")[2]


def test_a_cache_that_cannot_keep_is_none(registry: FakeRegistry, tmp_path: Path, host: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    first = publish(registry, tmp_path, 1)
    before = snapshot(host)
    breaks_at(registry, 0.8)
    assert install(first, host) == 4
    assert snapshot(host) == before
