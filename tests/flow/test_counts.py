# SPDX-License-Identifier: Apache-2.0
"""Counts that are the same on every machine: requests, files read, bytes written, syncs. No clock is read."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.acts.transaction.recover import recover
from ashore.cli import run
from ashore.errors import ChangedError
from ashore.mechanisms import syscalls
from ashore.mechanisms.state.content import ContentStore
from ashore.nouns.journal import Recovered
from tests.fakes.bundles import File, Tree
from tests.fakes.registry import FakeRegistry
from tests.fakes.touched import touched
from tests.flow.machine import Machine

ONE, TWO = "reg.example/all:1", "reg.example/all:2"
STATE = "var/lib/ashore"
PIECE = 64 * 1024
MANY = 300
"""More than are synced one by one."""


def tree(version: int, files: int = MANY, size: int = 100) -> Tree:
    return {f"opt/app/{n % 7}/file{n}": File(f"{version} {n} ".encode().ljust(size, b".")) for n in range(files)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.images.add(ONE, tree(1))
    made.images.add(TWO, tree(2))
    return made


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often each way of syncing was called."""
    count = {"fsync": 0, "syncfs": 0}
    fsync, syncfs = os.fsync, syscalls.syncfs

    def counted_fsync(descriptor: int) -> None:
        count["fsync"] += 1
        fsync(descriptor)

    def counted_syncfs(descriptor: int) -> None:
        count["syncfs"] += 1
        syncfs(descriptor)

    monkeypatch.setattr(os, "fsync", counted_fsync)
    monkeypatch.setattr(syscalls, "syncfs", counted_syncfs)
    yield count


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeRegistry, str, str]]:
    """A registry, a reference in it, and a root where that is installed."""
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    for number in range(20):
        path = tmp_path / f"bundle/root/etc/app/{number % 3}/{number}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    root = str(tmp_path / "host")
    (tmp_path / "host/var/lib").mkdir(parents=True)
    with FakeRegistry() as registry:
        reference = f"{registry.host}/bench/app:1"
        assert run(["build", str(tmp_path / "bundle"), "-t", reference, "--push"]) == 0
        assert run(["install", reference, "--root", root]) == 0
        yield registry, reference, root


@pytest.mark.parametrize("verb", ["install", "upgrade"])
def test_nothing_to_do_asks_the_registry_once_and_opens_no_file(
    verb: str, published: tuple[FakeRegistry, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    registry, reference, root = published
    before = len(registry.seen)
    with touched(root, without=(STATE,)) as files:
        assert run([verb, *([reference] if verb == "install" else []), "--root", root]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert [seen.method for seen in registry.seen[before:]] == ["HEAD"]
    assert files == set()


def test_following_two_tags_that_did_not_move_is_one_head_each(
    published: tuple[FakeRegistry, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    registry, _, root = published
    bundle = Path(root).with_name("bundle")
    (bundle / "bundle.toml").write_text('name = "second"\n')
    (bundle / "root/etc/app").rename(bundle / "root/etc/second")
    second = f"{registry.host}/bench/second:1"
    assert run(["build", str(bundle), "-t", second, "--platform", "linux/amd64", "--push"]) == 0
    assert run(["install", second, "--root", root]) == 0
    capsys.readouterr()
    before = len(registry.seen)
    with touched(root, without=(STATE,)) as files:
        assert run(["follow", "--root", root]) == 0
    assert capsys.readouterr().out == "bundle: same\nsecond: same\n"
    assert [seen.method for seen in registry.seen[before:]] == ["HEAD", "HEAD"]
    assert files == set()


@pytest.mark.parametrize("verb", ["status", "diff"])
def test_looking_at_a_host_reads_no_file_unless_it_shall(verb: str, published: tuple[FakeRegistry, str, str]) -> None:
    registry, _, root = published
    before = len(registry.seen)
    with touched(root, without=(STATE,)) as files:
        assert run([verb, "--root", root]) == 0
    assert files == set()
    with touched(root, without=(STATE,)) as files:
        assert run([verb, "--root", root, "--verify"]) == 0
    assert len(files) == 20
    assert len(registry.seen) == before


def test_nothing_to_do_changes_no_file_of_the_state(published: tuple[FakeRegistry, str, str]) -> None:
    _, reference, root = published
    before = {p: p.stat().st_mtime_ns for p in Path(root, STATE).rglob("*")}
    assert run(["install", reference, "--root", root]) == 0
    assert {p: p.stat().st_mtime_ns for p in Path(root, STATE).rglob("*")} == before


@pytest.mark.parametrize(("folder", "most"), [("opt", 1.1), ("etc", 2.1)])
def test_each_byte_is_written_once_and_a_merge_base_twice(folder: str, most: float, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    total = MANY * PIECE
    machine.images.add(ONE, {f"{folder}/app/{n}": File(f"{n} ".encode().ljust(PIECE, b".")) for n in range(MANY)})
    before = written()
    machine.install(ONE)
    assert total <= written() - before <= most * total


@pytest.mark.parametrize(("files", "syncfs"), [(20, 0), (MANY, 3), (5000, 3)])
def test_an_install_syncs_by_file_system_not_by_file(
    files: int, syncfs: int, tmp_path: Path, syncs: dict[str, int]
) -> None:
    machine = Machine(tmp_path)
    machine.images.add(ONE, tree(1, files))
    machine.install(ONE)
    assert syncs["syncfs"] <= syncfs
    assert syncs["fsync"] <= (100 if files < 64 else 50)
    assert syncs["fsync"] > 5, "nothing was counted"


def test_no_other_change_syncs_by_file_either(machine: Machine, syncs: dict[str, int]) -> None:
    def forward() -> object:
        return machine.install(TWO)

    def away() -> object:
        return machine.remove("all")

    machine.install(ONE)
    for change in (forward, machine.roll_back, forward, away):
        syncs.update(fsync=0, syncfs=0)
        change()
        assert syncs["fsync"] <= 50
        assert 1 <= syncs["syncfs"] <= 6


FEW_CHANGED = 5


@pytest.fixture
def few(tmp_path: Path) -> Machine:
    """A host with few files, and a second version of each."""
    made = Machine(tmp_path)
    made.images.add(ONE, tree(1, FEW_CHANGED))
    made.images.add(TWO, tree(2, FEW_CHANGED))
    made.install(ONE)
    return made


def stored(machine: Machine) -> set[str]:
    """The folders of the content store."""
    return {str(path.parent) for path in (machine.root / STATE / "content/sha256").rglob("*") if path.is_file()}


def test_few_displaced_files_are_in_the_store_by_synced_names(
    few: Machine, syncs: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync
    before = stored(few)

    def named(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", named)
    few.install(TWO)
    assert len(stored(few) - before) >= FEW_CHANGED
    assert stored(few) - before <= set(synced)
    assert str(few.root / STATE / "content/sha256") in synced
    assert syncs["syncfs"] == 0


def test_what_an_interrupted_try_has_moved_into_the_store_is_synced_by_the_next(
    few: Machine, syncs: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched, pytest.raises(ChangedError):
        patched.setattr(ContentStore, "sync_names", breaks)
        few.install(TWO)
    assert syncs["syncfs"] == 0
    tools = few.tools()
    with tools.state.locked():
        assert recover(tools) is Recovered.FORWARD
    assert syncs["syncfs"] > 0


def written() -> int:
    """Bytes that this process has handed to write(2) so far."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("this kernel keeps no account of bytes written")
    return int(next(line for line in counters.read_text().splitlines() if line.startswith("wchar:")).split()[1])
