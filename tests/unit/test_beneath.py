# SPDX-License-Identifier: Apache-2.0
"""Nothing beneath a root leads outside of it, with the kernel's resolver and with our own walk."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from ashore.mechanisms import syscalls
from ashore.mechanisms.beneath import Beneath, Following
from ashore.mechanisms.ifthere import listdir_if_there, read_if_there


@pytest.fixture(params=["openat2", "walk"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Beneath:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("inside")
    (root / "lib").symlink_to("usr/lib")
    (root / "absolute").symlink_to("/etc")
    (root / "up").symlink_to("../../../..")
    (root / "etc/link").symlink_to("/etc/passwd")
    (root / "loop").symlink_to("loop")
    (root / "etc/out").symlink_to(str(tmp_path / "secret"))
    beneath = Beneath(str(root))
    beneath._kernel_resolves = request.param == "openat2"
    return beneath


@pytest.mark.parametrize(
    ("logical", "physical"),
    [
        ("lib/x", "usr/lib/x"),
        ("absolute/passwd", "etc/passwd"),
        ("up/etc/passwd", "etc/passwd"),
        ("new/folder/x", "new/folder/x"),
        ("lib", "lib"),
        ("lib/new/x", "usr/lib/new/x"),
    ],
)
def test_a_path_is_made_physical_within_the_root(host: Beneath, logical: str, physical: str) -> None:
    assert host.physical(logical) == physical


@pytest.mark.parametrize("path", ["etc/passwd", "absolute/passwd", "up/etc/passwd", "etc/link", "up/up/etc/link"])
def test_reading_follows_symlinks_inside_the_root(host: Beneath, path: str) -> None:
    assert host.read_bytes(path, 100) == b"inside"


@pytest.mark.parametrize("path", ["etc/out", "up/secret", "loop"])
def test_reading_never_leaves_the_root(host: Beneath, path: str) -> None:
    with pytest.raises(OSError):
        host.read_bytes(path, 100)


@pytest.mark.parametrize("path", ["lib/x", "absolute/passwd", "etc/link"])
def test_a_physical_path_with_a_symlink_in_it_is_refused(host: Beneath, path: str) -> None:
    with pytest.raises(OSError):
        os.close(host.open(path, os.O_RDONLY))


def test_a_file_over_the_limit_is_refused(host: Beneath) -> None:
    with pytest.raises(OSError, match="larger than 5 bytes"):
        host.read_bytes("etc/passwd", 5)


def test_a_fifo_does_not_hang_the_reader(host: Beneath) -> None:
    os.mkfifo(os.path.join(host.root, "etc/fifo"))
    with pytest.raises(OSError, match="not a regular file"):
        host.read_bytes("etc/fifo", 5)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("etc/passwd", b"inside"),
        ("absolute/link", b"inside"),
        ("etc/new", None),
        ("new/folder/x", None),
        ("absolute/new/x", None),
        ("etc/masked", b""),
        ("absolute/masked", b""),
    ],
)
def test_what_has_no_name_is_not_there(host: Beneath, path: str, data: bytes | None) -> None:
    os.symlink("/dev/null", f"{host.root}/etc/masked")
    assert read_if_there(host, path, 100) == data
    if data is None:
        assert listdir_if_there(host, path) is None


@pytest.mark.parametrize("path", ["etc/nowhere", "etc/nowhere/x", "etc/out", "loop", "loop/x", "etc", "etc/passwd/x"])
def test_what_cannot_be_read_is_not_absent(host: Beneath, path: str) -> None:
    os.symlink("/new", f"{host.root}/etc/nowhere")
    with pytest.raises(OSError):
        read_if_there(host, path, 100)
    if path != "etc":
        with pytest.raises(OSError):
            listdir_if_there(host, path)


def test_a_mount_elsewhere_meanwhile_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("inside")
    real, left = syscalls._libc.syscall, [errno.EAGAIN] * 3

    def disturbed(*arguments: object) -> int:
        if left:
            ctypes.set_errno(left.pop())
            return -1
        return int(real(*arguments))

    host = Beneath(str(tmp_path))
    monkeypatch.setattr(syscalls._libc, "syscall", disturbed)
    assert host.read_bytes("etc/../etc/passwd", 100) == b"inside"
    assert not left


def test_the_symlinks_on_the_way_to_a_folder_are_known(host: Beneath) -> None:
    (Path(host.root) / "usr/lib/far").symlink_to("../../absolute/./deep/../")
    following = Following(host)
    for path, links in {
        "usr/lib": (),
        "lib": ("lib",),
        "lib/new/folder": ("lib",),
        "lib/far": ("lib", "usr/lib/far", "absolute"),
        "lib/far/x": ("lib", "usr/lib/far", "absolute"),
        "absolute": ("absolute",),
        "": (),
    }.items():
        following.folder(path)
        assert following.links(path) == links
