# SPDX-License-Identifier: Apache-2.0
"""What everything that calls itself `ports.Processes` does: the fake, and this machine's own /proc."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.mechanisms.host import processes
from ashore.mechanisms.host.processes import ProcFolder
from ashore.nouns.ports import Identity, Processes
from tests.fakes.processes import FakeProcesses

PROGRAM, IDLE = "opt/bin/program", "opt/bin/idle"


def identity(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (PROGRAM, IDLE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/sleep", tmp_path / name)
    return tmp_path


@pytest.fixture(params=["fake", "proc"])
def running(request: pytest.FixtureRequest, root: Path) -> Iterator[tuple[Processes, str]]:
    """Processes of which one runs PROGRAM, and the unit that it belongs to."""
    if request.param == "fake":
        fake = FakeProcesses()
        fake.map("a.service", identity(root / PROGRAM))
        yield fake, "a.service"
        return
    child = subprocess.Popen([root / PROGRAM, "100"])
    try:
        yield ProcFolder("/"), processes._unit("/proc", str(child.pid))
    finally:
        child.kill()
        child.wait()


def test_a_file_in_memory_is_found_by_its_identity_and_one_that_is_not_is_not(
    running: tuple[Processes, str], root: Path
) -> None:
    found, unit = running
    files = {identity(root / name): name for name in (PROGRAM, IDLE)}
    assert found.mapping(files) == {unit: (PROGRAM,)}
    assert found.mapping({}) == {}


def test_a_file_that_took_the_place_of_the_one_in_memory_is_not_taken_for_it(
    running: tuple[Processes, str], root: Path
) -> None:
    found, unit = running
    old = identity(root / PROGRAM)
    shutil.copy("/bin/sleep", root / "new")
    os.rename(root / "new", root / PROGRAM)
    assert found.mapping({identity(root / PROGRAM): PROGRAM}) == {}
    assert found.mapping({old: PROGRAM}) == {unit: (PROGRAM,)}, "it shows as deleted, and is known all the same"


def fake_proc(tmp_path: Path, maps: str, cgroup: str = "0::/system.slice/a.service\n") -> ProcFolder:
    """A /proc of one process; what is asked of `map_files` lies there as symlinks."""
    folder = tmp_path / "proc/7"
    (folder / "map_files").mkdir(parents=True)
    (folder / "maps").write_text(maps)
    (folder / "cgroup").write_text(cgroup)
    return ProcFolder(str(tmp_path))


def test_where_maps_has_other_numbers_than_stat_the_kernels_own_link_is_asked(tmp_path: Path, root: Path) -> None:
    """With older kernels overlayfs shows the inode of a layer; btrfs shows the device of the whole file system."""
    line = "1000-2000 r-xp 00000000 00:01 4242    /elsewhere/program\n"
    found = fake_proc(tmp_path, line)
    wanted = {identity(root / PROGRAM): PROGRAM}
    assert found.mapping(wanted) == {}, "nothing tells that it is the same"
    (tmp_path / "proc/7/map_files/1000-2000").symlink_to(root / PROGRAM)
    assert found.mapping(wanted) == {"a.service": (PROGRAM,)}
    assert found.mapping({identity(root / IDLE): PROGRAM}) == {}, "another file of that name"


def test_where_the_link_may_not_be_asked_inode_and_path_together_tell(tmp_path: Path, root: Path) -> None:
    device, inode = identity(root / PROGRAM)
    line = f"1000-2000 r-xp 00000000 00:01 {inode}    /{PROGRAM} (deleted)\n"
    assert fake_proc(tmp_path, line).mapping({(device, inode): PROGRAM}) == {"a.service": (PROGRAM,)}
    assert fake_proc(tmp_path / "2", line).mapping({(device, inode): "opt/bin/other"}) == {}


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/a.service\n", "a.service"),
        ("0::/init.scope\n", "init.scope"),
        ("0::/system.slice/system-w.slice/w@x.service\n", "w@x.service"),
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/mail.service\n", "user@1.service"),
        ("0::/system.slice/docker.service/deep/er\n", "docker.service"),
        ("0::/user.slice/user-1.slice/session-3.scope\n", "session-3.scope"),
        ("9:name=systemd:/system.slice/a.service\n8:pids:/\n0::/\n", "a.service"),
        ("0::/..\n", ""),
        ("", ""),
    ],
)
def test_the_unit_is_the_system_managers(tmp_path: Path, cgroup: str, unit: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(cgroup)
    assert processes._unit(str(tmp_path), "7") == unit


@pytest.mark.parametrize("left_at", ["", "var/lib/ashore/content/sha256/ab/" + "ab" * 32, "opt/.ashore/1f/s7"])
def test_a_file_that_was_replaced_under_a_running_program_is_told_from_one_that_has_its_number_now(
    running: tuple[Processes, str], root: Path, left_at: str
) -> None:
    found, unit = running
    old = identity(root / PROGRAM)
    wanted = {old: PROGRAM}
    assert found.mapping(wanted, gone=True) == {}, "it lies where it lay"
    if left_at:
        (root / left_at).parent.mkdir(parents=True)
        (root / PROGRAM).rename(root / left_at)
    else:
        (root / PROGRAM).unlink()
    if isinstance(found, FakeProcesses):
        found.gone.add(old)
    assert found.mapping(wanted, gone=True) == {unit: (PROGRAM,)}
    assert found.mapping({}, gone=True) == {}
