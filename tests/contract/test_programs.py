# SPDX-License-Identifier: Apache-2.0
"""What everything that calls itself `ports.Programs` does: the fakes, and the real programs of a booted Debian.

What the fakes do to files is what triggers count on, so it is compared here, program by program.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ashore.errors import AshoreError
from ashore.mechanisms.host.programs import HostPrograms
from ashore.nouns.ports import Programs
from tests.fakes.elf import library
from tests.fakes.programs import FakePrograms
from tests.system import lab
from tests.system.conftest import require_real

REDIRECTS, OTHER = "net/ipv4/conf/all/accept_redirects", "net/ipv4/conf/lo/accept_redirects"
BACKLOG = "net/core/somaxconn"
SETTINGS = {REDIRECTS: "0", OTHER: "0", BACKLOG: "4096"}
CERTIFICATE = "usr/local/share/ca-certificates/lab.crt"
STORE = "etc/ssl/certs/ca-certificates.crt"


@dataclass
class Ground:
    """A root and its programs; a kernel's setting is what a process of that root sees, whose network may be its own."""

    programs: Programs
    root: Path
    setting: Callable[[str], str]

    def write(self, path: str, data: str | bytes) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        return target

    def run(self, name: str, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
        return self.programs.run((self.programs.find(name) or name, *arguments), seconds=seconds, stdin=stdin)


class _Entered(HostPrograms):
    """Those of a booted host, which are run in it."""

    def __init__(self, host: lab.Host) -> None:
        super().__init__(host.live_root)
        self._host = host

    def run(self, argv: Sequence[str], *, seconds: float, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        return super().run(self._host.argv(argv, env), seconds=seconds, stdin=stdin)


@pytest.fixture(scope="module")
def booted() -> Iterator[lab.Host]:
    require_real()
    with lab.host("programs") as host:
        host.open_kernel()
        yield host


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "fake":
        found = Ground(
            FakePrograms(tmp_path), tmp_path, lambda name: (tmp_path / "proc/sys" / name).read_text().strip()
        )
        for path, text in {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
            "etc/group": "root:x:0:\n",
            "etc/ld.so.conf": "/usr/local/lib\n",
            "usr/lib/udev/hwdb.bin": "",
            STORE: "",
            **{f"proc/sys/{name}": f"{value}\n" for name, value in SETTINGS.items()},
        }.items():
            found.write(path, text)
        yield found
        return
    host: lab.Host = request.getfixturevalue("booted")
    host.run(["sysctl", "-qw", *(f"{name}={value}" for name, value in SETTINGS.items())])
    programs = _Entered(host)
    yield Ground(programs, host.path, lambda name: host.run(["cat", f"/proc/sys/{name}"]).stdout.strip())


def test_a_program_is_found_by_its_name_and_one_that_is_not_there_is_not(ground: Ground) -> None:
    for name in ("systemd-sysctl", "ldconfig", "systemd-tmpfiles", "update-ca-certificates"):
        assert ground.programs.find(name).endswith(f"/{name}")
    assert ground.programs.find("update-ca-trust-of-nobody") == ""
    script = ground.write("opt/bin/lab-script", "#!/bin/sh\necho $1\n")
    assert ground.programs.find("/opt/bin/lab-script") == ""
    script.chmod(0o755)
    assert ground.programs.find("/opt/bin/lab-script") == "/opt/bin/lab-script"
    assert ground.programs.run(["/opt/bin/lab-script", "told"], seconds=60) == "told"
    script.unlink()


def test_what_is_not_there_is_an_error_that_says_so(ground: Ground) -> None:
    with pytest.raises(AshoreError, match="no-such-program"):
        ground.run("/no-such-program")


def test_users_are_made_of_what_is_read_and_once(ground: Ground) -> None:
    for _ in range(2):
        ground.run("systemd-sysusers", "-", stdin='u labuser - "A user" /var/lib/lab\ng labgroup -\n')
    users = [line for line in (ground.root / "etc/passwd").read_text().splitlines() if line.startswith("labuser:")]
    groups = (ground.root / "etc/group").read_text()
    assert len(users) == 1 and 0 < int(users[0].split(":")[2]) < 1000
    assert "labgroup:" in groups and "labuser:" in groups, "a user brings a group of its name"


def test_only_settings_of_the_prefix_are_applied_and_a_later_file_has_the_last_word(ground: Ground) -> None:
    text = "net.ipv4.conf.all.accept_redirects = 1\nnet.core.somaxconn = 128\n"
    first = ground.write("usr/lib/sysctl.d/50-lab.conf", text)
    ground.run("systemd-sysctl", f"--prefix={REDIRECTS}")
    assert (ground.setting(REDIRECTS), ground.setting(BACKLOG)) == ("1", "4096")
    later = ground.write("etc/sysctl.d/90-lab.conf", "net/ipv4/conf/all/accept_redirects=0\n")
    ground.run("systemd-sysctl", f"--prefix={REDIRECTS}", f"--prefix={BACKLOG}")
    assert (ground.setting(REDIRECTS), ground.setting(BACKLOG)) == ("0", "128")
    first.unlink()
    later.unlink()


def test_a_glob_is_applied_to_what_the_prefix_leaves_of_it(ground: Ground) -> None:
    path = ground.write("etc/sysctl.d/90-lab.conf", "net.ipv4.conf.*.accept_redirects = 1\n")
    ground.run("systemd-sysctl", f"--prefix={REDIRECTS}")
    assert (ground.setting(REDIRECTS), ground.setting(OTHER)) == ("1", "0")
    path.unlink()


def test_a_line_that_sets_nothing_makes_it_fail_after_the_others_are_set(ground: Ground) -> None:
    good = ground.write("etc/sysctl.d/80-lab.conf", "net.core.somaxconn = 128\n")
    bad = ground.write("etc/sysctl.d/90-lab.conf", "kernel.foo bar\n")
    with pytest.raises(AshoreError, match=r"kernel\.foo bar"):
        ground.run("systemd-sysctl", f"--prefix={BACKLOG}")
    assert ground.setting(BACKLOG) == "128"
    ground.run("systemd-sysctl", f"--prefix={BACKLOG}", "/etc/sysctl.d/80-lab.conf")
    good.unlink()
    bad.unlink()


def test_a_setting_that_the_kernel_lacks_is_passed_over(ground: Ground) -> None:
    path = ground.write("etc/sysctl.d/90-lab.conf", "net.ipv4.no_such_key = 1\n")
    ground.run("systemd-sysctl", "--prefix=net/ipv4/no_such_key")
    path.unlink()


def test_the_linker_gives_a_library_its_name_which_goes_with_it(ground: Ground) -> None:
    source = ground.root / "usr/lib/x86_64-linux-gnu/libz.so.1.2.13"
    name = "libz.so.1" if source.exists() else "liblab.so.1"
    path = ground.write(f"usr/local/lib/{name}.9", source.read_bytes() if source.exists() else library(name))
    link = ground.root / f"usr/local/lib/{name}"
    ground.run("ldconfig")
    assert link.is_symlink() and link.readlink() == Path(f"{name}.9")
    assert f"/usr/local/lib/{name}".encode() in (ground.root / "etc/ld.so.cache").read_bytes()
    path.unlink()
    ground.run("ldconfig")
    assert not link.is_symlink(), "a name whose library is gone goes as well"
    assert f"/usr/local/lib/{name}".encode() not in (ground.root / "etc/ld.so.cache").read_bytes()


def test_only_the_lines_of_the_named_files_are_made(ground: Ground) -> None:
    ground.write("etc/tmpfiles.d/other.conf", "d /var/lib/lab-other\n")
    ground.write("etc/tmpfiles.d/lab.conf", "d /var/lib/lab/deep 0750\n")
    ground.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lab.conf")
    assert (ground.root / "var/lib/lab/deep").is_dir()
    assert not (ground.root / "var/lib/lab-other").exists()
    with pytest.raises(AshoreError):
        ground.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/missing.conf")


def test_the_hardware_database_holds_what_its_files_say_and_no_more(ground: Ground) -> None:
    base = ground.root / "usr/lib/udev/hwdb.bin"
    ground.run("systemd-hwdb", "update", "--usr")
    before = base.read_bytes()
    path = ground.write("etc/udev/hwdb.d/90-lab.hwdb", "lab:*\n LAB_ID=1\n")
    ground.run("systemd-hwdb", "update", "--usr")
    assert b"LAB_ID" in base.read_bytes()
    path.unlink()
    ground.run("systemd-hwdb", "update", "--usr")
    assert base.read_bytes() == before
    assert not (ground.root / "etc/udev/hwdb.bin").exists()


def test_a_certificate_is_in_the_store_while_its_file_is_there(ground: Ground, tmp_path: Path) -> None:
    ground.run("update-ca-certificates")
    before = (ground.root / STORE).read_bytes()
    names = sorted(path.name for path in (ground.root / STORE).parent.iterdir())
    made = tmp_path / "made.crt"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=lab -days 1 -keyout /dev/null"
    subprocess.run([*make.split(), "-out", made], check=True, capture_output=True)
    path = ground.write(CERTIFICATE, made.read_text())
    ground.run("update-ca-certificates")
    assert made.read_bytes().strip() in (ground.root / STORE).read_bytes()
    path.unlink()
    ground.run("update-ca-certificates", "--fresh")
    assert (ground.root / STORE).read_bytes() == before
    assert sorted(path.name for path in (ground.root / STORE).parent.iterdir()) == names


def test_the_modules_of_a_kernel_are_indexed_where_its_folder_is_there(ground: Ground) -> None:
    folder = ground.root / "usr/lib/modules/6.1-lab"
    folder.mkdir(parents=True)
    ground.run("depmod", "6.1-lab")
    assert (folder / "modules.dep").exists() and (folder / "modules.alias").exists()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(AshoreError):
        ground.run("depmod", "6.1-lab")


@pytest.fixture
def here() -> HostPrograms:
    """This machine's own, for what no fake stands for."""
    return HostPrograms("/")


def test_what_a_failing_program_said_is_the_cause_both_streams_in_one(here: HostPrograms) -> None:
    with pytest.raises(AshoreError, match="ended with 3") as raised:
        here.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], seconds=10)
    assert raised.value.cause == "out\nerr"


def test_a_signal_that_kills_a_program_is_named(here: HostPrograms) -> None:
    with pytest.raises(AshoreError, match="was killed by SIGKILL"):
        here.run(["/bin/sh", "-c", "kill -9 $$"], seconds=10)


def test_of_endless_output_the_end_is_kept(here: HostPrograms) -> None:
    said = here.run(["/bin/sh", "-c", "yes | head -c 1000000; echo the end"], seconds=30)
    assert said.endswith("the end") and len(said) <= 16 << 10


def test_what_takes_too_long_is_ended_with_all_that_it_started(here: HostPrograms, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(AshoreError, match="did not end within"):
        here.run(["/bin/sh", "-c", f"sleep 1000 & echo $! > {mark}; wait"], seconds=0.5)
    stat = Path(f"/proc/{mark.read_text().strip()}/stat")
    end = time.monotonic() + 5  # killed it is, and dies when it is its turn
    while _runs(stat) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _runs(stat)


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_sees_what_it_is_given_and_nothing_of_our_own_secrets(
    here: HostPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "secret")
    said = here.run(["/usr/bin/env"], seconds=10, env={"ASHORE_STEP": "drain"}, stdin="")
    assert "ASHORE_STEP=drain" in said and "secret" not in said
    assert here.run(["/bin/cat"], seconds=10, stdin="typed") == "typed"


def test_it_sees_the_same_whoever_runs_us(here: HostPrograms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By hand, by the timer of follow, at a boot: a step or a validator must not work in one of them only."""
    for name in ("PATH", "HOME", "TMPDIR", "TERM"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    said = here.run(["env"], seconds=10).splitlines()
    assert sorted(said) == ["HOME=/root", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", f"PATH={path}"]
    assert here.run(["pwd"], seconds=10) == "/"
