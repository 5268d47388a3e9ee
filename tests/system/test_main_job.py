# SPDX-License-Identifier: Apache-2.0
"""The main job on a booted host, from a real registry: installed, upgraded, undone, rolled back, removed."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import lab, registry_server
from tests.system.conftest import require_real
from tests.system.snapshot import Snapshot, differences

pytestmark = pytest.mark.real

UNIT = """\
[Unit]
Description=worker {version}
[Service]
{service}
[Install]
WantedBy=multi-user.target
"""
STAYS = "ExecStart=/opt/bin/worker"
SLOW = "ExecStartPre=/bin/sleep 3\nTimeoutStartSec=30\n" + STAYS
RUNS_SLEEP = "ExecStart=/opt/bin/sleep 1000"
FAILS = "ExecStart=/bin/false"
SAYS_WHY = "ExecStart=/bin/sh -c 'echo the key is bad >&2; exit 1'"
DIES = "ExecStart=/bin/sh -c 'sleep 0.5; exit 3'"
FLAPS = "Restart=always\nRestartSec=0.1\nStartLimitIntervalSec=0\nExecStart=/bin/sh -c 'sleep 0.2'"
SERVICE = "etc/systemd/system/worker.service"
WANTS = "etc/systemd/system/multi-user.target.wants/worker.service"
QUICK = '[[health]]\nunit = "worker.service"\nsettle = {settle}\n'


class Site:
    """A registry, a folder to build in, and a host that reaches the registry."""

    def __init__(self, host: lab.Host, registry: registry_server.RegistryServer, folder: Path) -> None:
        self.host, self.registry, self.folder = host, registry, folder
        host.forward(registry.port)

    def push(self, tag: str, service: str = STAYS, settle: float = 0.3, name: str = "worker") -> str:
        """Build a worker bundle and push it."""
        folder = self.folder / f"{name}-{tag}"
        files = {
            SERVICE: UNIT.format(version=tag, service=service),
            "opt/bin/worker": f"#!/bin/sh\n# {tag}\nexec sleep 1000\n",
            "etc/worker/worker.conf.j2": tag + " on {{ facts.hostname }} with {{ facts.network.default.ipv4 }}\n",
        }
        for path, text in files.items():
            (folder / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "root" / path).write_text(text)
        (folder / "root/opt/bin/worker").chmod(0o755)
        (folder / "bundle.toml").write_text(f'name = "{name}"\nversion = "{tag}"\n' + QUICK.format(settle=settle))
        reference = f"{self.registry.host}/k8s/{name}:{tag}"
        ashore("build", str(folder), "-t", reference, "--push")
        return reference

    def run(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """`ashore` on the host, which has to end with `code`."""
        done = self.host.ashore(*arguments, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def status(self) -> Any:
        return json.loads(self.run("status", "--json").stdout)

    def active(self) -> str:
        return self.host.show("worker.service", "ActiveState")

    def version(self) -> str:
        return self.host.show("worker.service", "Description")


def ashore(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ashore", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def whole_site(shared_host: lab.Host) -> Iterator[Site]:
    if not registry_server.available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    with registry_server.registry_server() as registry, tempfile.TemporaryDirectory() as folder:
        yield Site(shared_host, registry, Path(folder))


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The shared host; afterwards nothing is installed on it, and nothing is left of what was."""
    before = whole_site.host.snapshot()
    yield whole_site
    installed = [bundle["name"] for bundle in whole_site.status()["bundles"]]
    if installed:
        whole_site.run("remove", *installed)
    assert no_trace(whole_site, before) == []


def unloaded(site: Site) -> list[str]:
    """Units that linger as failed or not found; PID 1 drops those that somebody asked about only after a while."""
    listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "worker*", "ashore-*"]
    left: list[str] = []
    for _ in range(10):
        listed = site.host.run(listing).stdout.splitlines()
        left = [line for line in listed if "ashore-recover" not in line and "ashore-boot" not in line]
        if not left:
            break
        time.sleep(1)
    return left


def no_trace(site: Site, before: Snapshot) -> list[str]:
    """What is not as before: paths, units, and units that linger as failed or not found."""
    return differences(before, site.host.snapshot()) + unloaded(site)


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_the_main_job(site: Site) -> None:
    one, two, bad = site.push("1"), site.push("2"), site.push("3", SAYS_WHY)
    fresh = site.host.snapshot()

    planned = site.run("plan", one, "--exit-code", code=10)
    assert "/etc/worker/worker.conf" in planned.stdout and "start" in planned.stdout
    assert differences(fresh, site.host.snapshot()) == [], "a plan changes nothing"

    site.run("install", one)
    assert (site.host.path / "etc/worker/worker.conf").read_text() == "1 on shared with 10.77.0.2\n"
    assert site.active() == "active"
    assert site.host.show("worker.service", "UnitFileState") == "enabled"

    first = site.host.show("worker.service", "InvocationID")
    planned = site.run("plan", two)
    assert "-1 on shared with 10.77.0.2" in planned.stdout and "+2 on shared with 10.77.0.2" in planned.stdout
    assert "restart worker.service" in planned.stdout
    site.run("install", two)
    assert site.version() == "worker 2"
    assert site.host.show("worker.service", "InvocationID") != first
    before = site.host.snapshot()

    failed = site.run("install", bad, code=7)
    assert "worker.service" in failed.stderr and "journalctl" in failed.stderr
    assert "; it said: the key is bad (see" in failed.stderr
    assert differences(before, site.host.snapshot()) == []
    assert (site.active(), site.version()) == ("active", "worker 2"), "the old generation runs again"
    status = site.status()
    assert [held["reference"] for held in status["held"]] == [bad]
    assert (status["generation"], status["interrupted"]) == (2, False)

    site.host.cut(site.registry.port)
    try:
        site.run("rollback")
        assert (site.active(), site.version()) == ("active", "worker 1")
        assert (site.host.path / "etc/worker/worker.conf").read_text().startswith("1 on ")
        site.run("remove", "worker")
        assert no_trace(site, fresh) == []
    finally:
        site.host.forward(site.registry.port)


def test_the_same_again_touches_neither_systemd_nor_any_file(site: Site) -> None:
    one = site.push("1")
    site.run("install", one)
    unit = ("ActiveState", "InvocationID", "NRestarts", "ExecMainStartTimestampMonotonic", "StateChangeTimestamp")

    def seen() -> tuple[object, ...]:
        # Each daemon-reload loads all units again, and the manager notes when.
        loaded = site.host.run(["systemctl", "show", "--property", "UnitsLoadStartTimestampMonotonic"]).stdout
        files = [
            os.lstat(site.host.path / path) for path in (SERVICE, WANTS, "opt/bin/worker", "etc/worker/worker.conf")
        ]
        marks = [(f.st_ino, f.st_mtime_ns, f.st_ctime_ns) for f in files]
        return loaded, [site.host.show("worker.service", name) for name in unit], marks

    before = seen()
    assert "nothing to do" in site.run("install", one).stdout
    assert "nothing to do" in site.run("upgrade", "worker").stdout
    assert "nothing to do" in site.run("upgrade").stdout
    assert seen() == before
    assert site.status()["generation"] == 1 or site.status()["drift"] == []


@pytest.mark.parametrize("service", [DIES, FLAPS], ids=["dies", "flaps"])
def test_a_unit_that_does_not_stay_up_for_the_settle_time_goes_back(site: Site, service: str) -> None:
    bad = site.push("bad", service, settle=2)
    fresh = site.host.snapshot()
    failed = site.run("install", bad, code=7)
    assert "worker.service" in failed.stderr
    assert no_trace(site, fresh) == []
    assert site.host.show("worker.service", "LoadState") == "not-found"


def command_line(site: Site, *arguments: str) -> "subprocess.Popen[bytes]":
    """`ashore` on the host, followed by nobody; it heeds signals that whoever runs the tests may ignore (nohup)."""
    return subprocess.Popen(
        ["env", "--default-signal=HUP,INT", *site.host.argv(["/usr/local/bin/ashore", *arguments])],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def half_way(site: Site) -> bool:
    """The files are swapped, and the unit's start is waited for."""
    return site.active() == "activating"


def kill_command_line(site: Site, number: signal.Signals) -> None:
    # The service's own process is `ashore carry-out`: only the command line is hit.
    site.host.run(
        ["pkill", f"-{number.name.removeprefix('SIG')}", "-f", "^/usr/bin/python3 /usr/local/bin/ashore install"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_command_line_that_is_killed_half_way_changes_nothing_for_the_host(
    site: Site, number: signal.Signals
) -> None:
    slow = site.push("slow", SLOW)
    running = command_line(site, "install", slow)
    wait_for(lambda: half_way(site))
    kill_command_line(site, number)
    running.wait(10)
    assert half_way(site), "it was killed too late to prove anything"
    wait_for(lambda: site.active() == "active")
    wait_for(lambda: site.status()["bundles"])
    assert site.status()["interrupted"] is False


def test_a_terminal_that_is_closed_half_way_changes_nothing_for_the_host(site: Site) -> None:
    slow = site.push("slow", SLOW)
    child, terminal = pty.fork()
    if child == 0:
        argv = site.host.argv(["/usr/local/bin/ashore", "install", slow])
        os.execvp(argv[0], argv)
    wait_for(lambda: half_way(site))
    os.close(terminal)
    assert half_way(site), "it was closed too late to prove anything"
    wait_for(lambda: site.status()["bundles"])
    assert (site.active(), site.status()["interrupted"]) == ("active", False)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_service_that_is_killed_half_way_is_recovered_without_anybody(site: Site) -> None:
    one, slow = site.push("1"), site.push("slow", SLOW)
    site.run("install", one)
    before, generation = site.host.snapshot(), site.status()["generation"]
    running = command_line(site, "install", slow)
    wait_for(lambda: half_way(site))
    assert differences(before, site.host.snapshot()) != [], "it is in the middle"
    site.host.run(["sh", "-c", "systemctl kill --signal=KILL 'ashore-*.service'"])
    assert running.wait(30) != 0
    wait_for(lambda: not site.status()["interrupted"] and site.active() == "active")
    assert differences(before, site.host.snapshot()) == []
    assert (site.version(), site.status()["generation"]) == ("worker 1", generation)


@pytest.mark.parametrize("then", ["recover", "install", "remove"])
def test_a_host_that_dies_half_way_is_recovered_by_the_next_command(whole_site: Site, then: str) -> None:
    """All its processes end at once, the hand-over's service too; its own boot unit is switched off here."""
    with lab.host("dying", address="10.77.0.2/24") as host:
        site = Site(host, whole_site.registry, whole_site.folder)
        one, slow = site.push("1"), site.push("slow", SLOW)
        fresh = host.snapshot()
        site.run("install", one)
        before = host.snapshot()
        running = command_line(site, "install", slow)
        wait_for(lambda: half_way(site))
        host.run(["systemctl", "disable", "ashore-recover.service"])
        host.kill()
        running.wait(10)
        host.boot()
        if site.status()["interrupted"]:
            site.run("plan", one, code=7)
        match then:
            case "recover":
                site.run("recover")
            case "install":
                site.run("install", one)
            case _:
                site.run("remove", "worker")
        after = host.snapshot()
        assert differences(before if then != "remove" else fresh, after) == []
        assert (site.status()["interrupted"], site.status()["generation"]) == (False, 1 if then != "remove" else 2)
        if then != "remove":
            assert site.version() == "worker 1"


def test_a_second_command_line_while_one_is_at_work_is_told_so_or_waits(site: Site) -> None:
    slow, one = site.push("slow", SLOW), site.push("1")
    running = command_line(site, "install", slow)
    wait_for(lambda: half_way(site))
    refused = site.run("install", one, code=9)
    assert "another ashore" in refused.stderr
    waited = site.run("install", one, "--wait", "1m")
    assert "another ashore is at work; waiting for it, at most 1m" in waited.stderr
    assert running.wait(30) == 0
    assert "generation 2" in waited.stdout and site.version() == "worker 1"
    ends = site.host.run(["journalctl", "--unit", "ashore-watch-*", "--grep", "exit-code", "--no-pager"], check=False)
    assert "exit-code" not in ends.stdout, "the watch on the first was ended by the second, and has not failed"


def test_a_masked_unit_stays_masked(site: Site) -> None:
    """The administrator masked it by hand: the bundle's unit lies below usr then, as a package's would."""
    folder = site.folder / "masked"
    path = folder / "root/usr/lib/systemd/system/worker.service"
    path.parent.mkdir(parents=True)
    path.write_text(UNIT.format(version="masked", service="ExecStart=/bin/sleep 1000"))
    reference = f"{site.registry.host}/k8s/masked:1"
    ashore("build", str(folder), "-t", reference, "--push")
    site.host.run(["systemctl", "mask", "worker.service"])
    try:
        said = site.run("install", reference)
        assert "masked" in said.stdout
        assert site.active() == "inactive"
        assert site.host.show("worker.service", "LoadState") == "masked"
        site.run("remove", "masked")
        assert site.host.show("worker.service", "LoadState") == "masked"
    finally:
        site.host.run(["systemctl", "unmask", "worker.service"])


def test_a_disabled_unit_stays_disabled_over_an_upgrade(site: Site) -> None:
    one, two = site.push("1"), site.push("2")
    site.run("install", one)
    site.host.run(["systemctl", "disable", "--now", "worker.service"])
    said = site.run("install", two)
    assert "disabled" in said.stdout
    assert (site.active(), site.host.show("worker.service", "UnitFileState")) == ("inactive", "disabled")
    site.run("rollback")
    assert (site.active(), site.host.show("worker.service", "UnitFileState")) == ("inactive", "disabled")


def test_enablement_that_was_there_before_comes_back(site: Site) -> None:
    """A package's unit of the same name was enabled and ran; the bundle's covers it, and then goes."""
    vendor = "usr/lib/systemd/system/worker.service"
    site.host.write(vendor, UNIT.format(version="of a package", service="ExecStart=/bin/sleep 1000"))
    site.host.run(["systemctl", "enable", "--now", "worker.service"])
    before = site.host.snapshot()
    try:
        site.run("install", site.push("1"))
        assert site.version() == "worker 1"
        site.run("remove", "worker")
        assert differences(before, site.host.snapshot()) == []
        assert site.host.show("worker.service", "UnitFileState") == "enabled"
        assert site.version() == "worker of a package"
    finally:
        site.host.run(["systemctl", "disable", "--now", "worker.service"])
        (site.host.path / vendor).unlink()
        site.host.run(["systemctl", "daemon-reload"])


DOCKERFILE = """\
FROM scratch
COPY worker/ /ashore/
COPY extra/ /ashore/root/etc/extra/
COPY old/ /worker-root/
{label}
"""
SECOND_LAYER = """\
cd "$1/ashore/root"
rm -r etc/extra/gone etc/extra/folder; mkdir etc/extra/folder; echo new > etc/extra/folder/new
echo tool > opt/bin/tool; ln opt/bin/tool opt/bin/again
cd "$1/worker-root"; echo second > etc/second
"""


@pytest.fixture(scope="module")
def foreign(whole_site: Site) -> Callable[[str, str, str], str]:
    """Makes an image with buildah, in several layers with whiteouts: (name, compression, label) -> reference."""
    if shutil.which("buildah") is None:
        pytest.skip("no buildah here: run scripts/lab-packages")
    whole_site.push("foreign")
    context = whole_site.folder / "context"
    shutil.copytree(whole_site.folder / "worker-foreign", context / "worker")
    for path, text in {
        "extra/gone/file": "x", "extra/folder/old": "x", "extra/stays": "y",
        "old/etc/older.conf": "old\n", "old/opt/older": "tool",
    }.items():  # fmt: skip
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        (context / path).write_text(text)
    base = ["buildah", "--root", str(whole_site.folder / "s"), "--runroot", str(whole_site.folder / "r")]
    base += ["--storage-driver", "vfs"]

    def buildah(*arguments: str) -> str:
        return subprocess.run([*base, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def make(name: str, compression: str, label: str) -> str:
        (context / "Dockerfile").write_text(DOCKERFILE.format(label=label))
        buildah("bud", "-q", "--layers", "-t", name, str(context))
        container = buildah("from", "--pull-never", name)
        subprocess.run(["sh", "-euc", SECOND_LAYER, "sh", buildah("mount", container)], check=True)
        buildah("umount", container)
        buildah("commit", "-q", container, name)
        buildah("rm", container)
        reference = f"{whole_site.registry.host}/foreign/{name}:{compression}"
        options = ["--tls-verify=false", "--format", "oci", "--compression-format", compression]
        buildah("push", "-q", *options, name, f"docker://{reference}")
        return reference

    return make


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_image_from_a_dockerfile_installs_the_same(
    site: Site, foreign: Callable[[str, str, str], str], compression: str
) -> None:
    site.run("install", foreign("plain", compression, ""))
    root = site.host.path
    assert (site.active(), site.version()) == ("active", "worker foreign")
    assert (root / "etc/worker/worker.conf").read_text() == "foreign on shared with 10.77.0.2\n"
    assert sorted(os.listdir(root / "etc/extra")) == ["folder", "stays"]
    assert os.listdir(root / "etc/extra/folder") == ["new"]
    assert (root / "opt/bin/again").stat().st_ino == (root / "opt/bin/tool").stat().st_ino
    assert not (root / "etc/older.conf").exists(), "what lies beside the bundle's tree is never written"


@pytest.mark.parametrize("way", ["label", "option"])
def test_an_older_image_installs_by_the_name_of_its_tree(
    site: Site, foreign: Callable[[str, str, str], str], way: str
) -> None:
    label = "LABEL io.ashore.root=/worker-root" if way == "label" else ""
    options = [] if way == "label" else ["--root-in-image", "/worker-root"]
    site.run("install", foreign("older", "gzip", label), *options)
    assert (site.host.path / "etc/older.conf").read_text() == "old\n"
    assert (site.host.path / "etc/second").read_text() == "second\n"
    assert not (site.host.path / SERVICE).exists()
    assert [bundle["name"] for bundle in site.status()["bundles"]] == ["older"]


def test_a_unit_that_runs_by_an_older_file_than_the_disk_has_is_told_and_restarted(site: Site) -> None:
    folder = site.folder / "older"
    (folder / "root/opt/bin").mkdir(parents=True)
    (folder / "root" / SERVICE).parent.mkdir(parents=True)
    (folder / "root" / SERVICE).write_text(UNIT.format(version="1", service="ExecReload=/bin/true\n" + RUNS_SLEEP))
    (folder / "bundle.toml").write_text(
        'name = "older"\n[[files]]\npath = "opt/bin/sleep"\nreload = ["worker.service"]\n'
    )
    for version in (1, 2):
        shutil.copy("/bin/sleep", folder / "root/opt/bin/sleep")
        with (folder / "root/opt/bin/sleep").open("ab") as file:
            file.write(bytes([version]))
        reference = f"{site.registry.host}/older:{version}"
        ashore("build", str(folder), "-t", reference, "--push")
        site.run("install", reference)
    (told,) = json.loads(site.run("diff", "--json", "--exit-code", code=10).stdout)
    assert (told["path"], told["verdict"], told["unit"]) == ("/opt/bin/sleep", "outdated", "worker.service")
    before = site.host.show("worker.service", "InvocationID")
    assert "restart worker.service: it runs by an older /opt/bin/sleep" in site.run("repair").stderr
    assert site.host.show("worker.service", "InvocationID") != before
    site.run("diff", "--exit-code")


def test_without_a_bus_the_change_is_refused_and_nothing_is_changed() -> None:
    """A container or a chroot that is PID 1's root, with nobody to hand over to."""
    require_real()
    with lab.host("busless") as host:
        before = host.snapshot()
        host.run(["systemctl", "stop", "dbus.socket", "dbus.service"], check=False)
        done = host.ashore("install", "localhost:1/x:1", check=False)
        assert done.returncode in (4, 7), done
        assert "Traceback" not in done.stderr
        assert differences(before, host.snapshot()) == []
