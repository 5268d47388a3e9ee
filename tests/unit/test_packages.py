# SPDX-License-Identifier: Apache-2.0
import shutil
import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.host.packages import owners
from ashore.mechanisms.host.rpm import read_header


def owned(root: Path, *paths: str) -> dict[str, str]:
    with Beneath(str(root)) as host:
        return dict(owners(host, paths))


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "coreutils.list").write_text("/.\n/bin\n/bin/ls\n/usr/bin/env\n")
    (info / "libc6:amd64.list").write_text("/lib/x86_64-linux-gnu/libc.so.6\n")
    (info / "perl.list").write_text("/usr/bin/perldoc\n/usr/share/x\n")
    (info / "perl-doc.list").write_text("/usr/bin/perldoc\n")
    (info / "coreutils.md5sums").write_text("/etc/not-a-list\n")
    (tmp_path / "var/lib/dpkg/diversions").write_text(
        "/usr/bin/perldoc\n/usr/bin/perldoc.stub\nperl-doc\n/usr/share/x\n/usr/share/x.orig\n:\n"
    )
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in ("bin", "lib"):
        (tmp_path / name).symlink_to(f"usr/{name}")
    return tmp_path


def test_dpkg_owns_physical_paths(debian: Path) -> None:
    assert owned(debian, "usr/bin/ls", "usr/bin/env", "usr/lib/x86_64-linux-gnu/libc.so.6", "etc/mine") == {
        "usr/bin/ls": "coreutils",
        "usr/bin/env": "coreutils",
        "usr/lib/x86_64-linux-gnu/libc.so.6": "libc6",
    }


def test_without_a_merged_usr_the_names_are_others(debian: Path) -> None:
    (debian / "bin").unlink()
    (debian / "bin").mkdir()
    assert owned(debian, "usr/bin/ls", "bin/ls") == {"bin/ls": "coreutils"}


def test_a_diverted_path_belongs_to_who_diverts_it(debian: Path) -> None:
    assert owned(debian, "usr/bin/perldoc", "usr/bin/perldoc.stub") == {
        "usr/bin/perldoc": "perl-doc",
        "usr/bin/perldoc.stub": "perl",
    }


def test_a_local_diversion_leaves_the_name_to_nobody(debian: Path) -> None:
    assert owned(debian, "usr/share/x", "usr/share/x.orig") == {"usr/share/x.orig": "perl"}


def test_a_root_without_packages(tmp_path: Path) -> None:
    assert owned(tmp_path, "etc/x") == {}
    assert owned(tmp_path) == {}


def test_lists_that_lead_out_of_the_root_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/evil.list").write_text("/etc/x\n")
    root = tmp_path / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/info").symlink_to(tmp_path / "outside")
    assert owned(root, "etc/x") == {}


def header(name: str, files: list[str]) -> bytes:
    """A header as rpm stores it: index entries of tag, type, offset, count."""
    folders = sorted({path.rpartition("/")[0] + "/" for path in files})
    strings = {
        1000: [name],
        1117: [path.rpartition("/")[2] for path in files],
        1118: folders,
    }
    store = b""
    index = b""
    for tag, values in strings.items():
        index += struct.pack(">IIII", tag, 8, len(store), len(values))
        store += b"".join(value.encode() + b"\0" for value in values)
    store += bytes(-len(store) % 4)
    index += struct.pack(">IIII", 1116, 4, len(store), len(files))
    store += b"".join(struct.pack(">I", folders.index(path.rpartition("/")[0] + "/")) for path in files)
    return struct.pack(">II", len(index) // 16, len(store)) + index + store


@pytest.mark.parametrize("place", ["var/lib/rpm", "usr/lib/sysimage/rpm"])
def test_rpm_owns_paths(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    files = ["/usr/bin/demo", "/etc/demo/demo.conf", "/bin/old"]
    with sqlite3.connect(folder / "rpmdb.sqlite") as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        database.execute("CREATE TABLE Basenames (key TEXT, hnum INTEGER, idx INTEGER)")
        database.execute("INSERT INTO Packages VALUES (7, ?)", (header("demo", files),))
        rows = [(path.rpartition("/")[2], 7, number) for number, path in enumerate(files)]
        database.executemany("INSERT INTO Basenames VALUES (?, ?, ?)", rows)
    database.close()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    before = sorted(folder.iterdir())
    assert owned(tmp_path, "usr/bin/demo", "usr/bin/old", "etc/demo/demo.conf", "etc/other/demo.conf") == {
        "usr/bin/demo": "demo",
        "usr/bin/old": "demo",
        "etc/demo/demo.conf": "demo",
    }
    assert sorted(folder.iterdir()) == before, "reading leaves no journal or lock behind"


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0", b"x" * 5000])
def test_a_broken_database_knows_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm/rpmdb.sqlite").write_bytes(data)
    assert owned(tmp_path, "usr/bin/demo") == {}


def test_a_cut_off_header_is_refused() -> None:
    whole = header("demo", ["/usr/bin/demo"])
    assert read_header(whole)[0] == "demo"
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="header"):
            read_header(whole[:length])


@pytest.mark.real
@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this is no Debian")
def test_dpkg_itself_says_the_same() -> None:
    asked = ["usr/bin/env", "usr/bin/dpkg", "etc/debian_version"]
    said = subprocess.run(["dpkg-query", "-S", *(f"/{p}" for p in asked)], capture_output=True, text=True, check=True)
    expected = {path.lstrip("/"): package for package, path in (line.split(": ") for line in said.stdout.splitlines())}
    assert owned(Path("/"), *asked) == expected


SPEC = """\
Name: lab-tool
Version: 1
Release: 1
Summary: of the laboratory
License: none
BuildArch: noarch
%description
A file and a program.
%install
mkdir -p %{buildroot}/etc/lab %{buildroot}/usr/bin
echo one > %{buildroot}/etc/lab/lab.conf
echo two > %{buildroot}/usr/bin/lab-tool
%files
%config /etc/lab/lab.conf
/usr/bin/lab-tool
"""


@pytest.fixture(scope="module")
def rpm_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose database rpm itself wrote, with one package in it."""
    if shutil.which("rpmbuild") is None:
        pytest.skip("no rpm here: run scripts/lab-packages")
    folder = tmp_path_factory.mktemp("rpm")
    (folder / "lab.spec").write_text(SPEC)
    build = ["rpmbuild", "-bb", "--define", f"_topdir {folder}/top", "--define", f"_rpmdir {folder}/out"]
    subprocess.run([*build, folder / "lab.spec"], check=True, capture_output=True)
    (package,) = (folder / "out").rglob("*.rpm")
    command = ["rpm", "--root", str(folder / "host"), "--dbpath", "/var/lib/rpm", "--force-debian", "--nodeps"]
    (folder / "host").mkdir()
    subprocess.run([*command, "--noscripts", "-i", package], check=True, capture_output=True)
    return folder / "host"


@pytest.mark.real
def test_a_database_that_rpm_itself_wrote_is_read(rpm_root: Path) -> None:
    paths = ("etc/lab/lab.conf", "usr/bin/lab-tool", "etc/mine")
    assert owned(rpm_root, *paths) == {"etc/lab/lab.conf": "lab-tool", "usr/bin/lab-tool": "lab-tool"}


@pytest.mark.real
def test_what_rpm_has_only_in_its_log_is_known_and_nothing_is_written_there(rpm_root: Path) -> None:
    """rpm was killed: what its last transaction did is in the log, and in the database by the next run of rpm."""
    folder = rpm_root / "var/lib/rpm"
    writer = sqlite3.connect(folder / "rpmdb.sqlite")
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    blob = writer.execute("SELECT blob FROM Packages").fetchone()[0].replace(b"lab-tool", b"lab-late")
    number = writer.execute("INSERT INTO Packages (blob) VALUES (?)", (blob,)).lastrowid
    writer.execute("INSERT INTO Basenames (key, hnum, idx) VALUES ('lab-late', ?, 0)", (number,))
    writer.commit()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert owned(rpm_root, "usr/bin/lab-late") == {"usr/bin/lab-late": "lab-late"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    writer.close()
