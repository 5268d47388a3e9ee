# SPDX-License-Identifier: Apache-2.0
"""Restarts, triggers and steps on booted hosts: real units, processes, kernel settings, users, stores, libraries."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.system import lab
from tests.system.snapshot import Snapshot, differences

pytestmark = pytest.mark.real

SYSTEM = "etc/systemd/system"
SLEEPS = "[Service]\nExecStart=/bin/sleep {0}\n[Install]\nWantedBy=multi-user.target\n"
QUICK = '[[health]]\nunit = "{unit}"\nsettle = 0.3\n'
BACKLOG, REDIRECTS = "net/core/somaxconn", "net/ipv4/conf/all/accept_redirects"
STARTS = "/run/starts"


class Site:
    """A host that gets bundles as layouts: no registry is needed for what is looked at here."""

    def __init__(self, host: lab.Host, folder: Path) -> None:
        self.host, self._folder = host, folder

    def build(self, files: Mapping[str, str | bytes], toml: str = "", name: str = "app") -> str:
        """The reference of a bundle with these files below its root."""
        number = len(list(self._folder.iterdir()))
        folder = self._folder / str(number)
        for path, data in files.items():
            target = folder / "root" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.encode() if isinstance(data, str) else data)
            target.chmod(0o755 if "/bin/" in path or ".so" in path else 0o644)
        (folder / "bundle.toml").write_text(f'name = "{name}"\nversion = "{number}"\n{toml}')
        layout = f"{self.host.path}/root/images/{number}"
        argv = [sys.executable, "-m", "ashore", "build", str(folder), "-o", f"oci:{layout}"]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return f"oci:/root/images/{number}"

    def ashore(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = self.host.ashore(*arguments, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def setting(self, name: str) -> str:
        return self.host.run(["cat", f"/proc/sys/{name}"]).stdout.strip()

    def text(self, path: str) -> str:
        return (self.host.path / path).read_text()

    def started(self) -> list[str]:
        """The units that were started since this was last asked, one line for each start."""
        lines = self.host.run(["sh", "-c", f"cat {STARTS} 2>/dev/null; rm -f {STARTS}"]).stdout.split()
        return sorted(lines)

    def look(self) -> Snapshot:
        users = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid")
        kept = {*users, *(f"{path}-" for path in users), "root/images"}
        seen = self.host.snapshot()
        return {path: what for path, what in seen.items() if path not in kept and not path.startswith("root/images/")}


@pytest.fixture
def site(shared_host: lab.Host, tmp_path: Path) -> Iterator[Site]:
    """The shared host, on which afterwards nothing is installed and all is as it was; users stay, as is said."""
    shared_host.open_kernel()
    shared_host.run(["sysctl", "-qw", f"{BACKLOG}=4096", f"{REDIRECTS}=0"])
    shutil.rmtree(shared_host.path / "root/images", ignore_errors=True)
    (shared_host.path / "root/images").mkdir()
    made = Site(shared_host, tmp_path)
    before = made.look()
    yield made
    installed = json.loads(made.ashore("status", "--json").stdout)["bundles"]
    if installed:
        made.ashore("remove", *(bundle["name"] for bundle in installed))
    assert differences(before, made.look()) == []
    assert (made.setting(BACKLOG), made.setting(REDIRECTS)) == ("4096", "0")


def counted(unit: str, extra: str = "") -> str:
    """A unit that leaves a line for each of its starts."""
    run = f"ExecStartPre=/bin/sh -c 'echo {unit} >> {STARTS}'\nExecStart=/bin/sleep 1000\n"
    return f"[Unit]\n{extra}[Service]\n{run}[Install]\nWantedBy=multi-user.target\n"


def test_one_file_of_one_of_three_services_is_one_restart_and_nothing_is_none(site: Site) -> None:
    names = ("a", "b", "c")
    files = {f"{SYSTEM}/lab-{n}.service": counted(f"lab-{n}.service") for n in names}
    files |= {f"{SYSTEM}/lab-{n}.service.d/env.conf": f"[Service]\nEnvironmentFile=/etc/lab/{n}.env\n" for n in names}
    files |= {f"etc/lab/{n}.env": "X=1\n" for n in names}
    health = "".join(QUICK.format(unit=f"lab-{n}.service") for n in names)
    one, two = site.build(files, health), site.build({**files, "etc/lab/b.env": "X=2\n"}, health)
    site.ashore("install", one)
    assert site.started() == [f"lab-{n}.service" for n in names]
    assert "restart lab-b.service: etc/lab/b.env, named by EnvironmentFile=, changed" in site.ashore("plan", two).stdout
    site.ashore("install", two)
    assert site.started() == ["lab-b.service"]
    site.ashore("install", two)
    assert site.started() == []


@pytest.fixture
def chain(site: Site) -> Iterator[Site]:
    """Units of the host itself that hang on one of a bundle."""
    host = site.host
    needs = "Requires=lab.service\nAfter=lab.service\n"
    host.write(f"{SYSTEM}/lab-needs.service", counted("lab-needs.service", needs))
    host.write(f"{SYSTEM}/lab-part.service", counted("lab-part.service", "PartOf=lab.service\n"))
    yield site
    host.run(["systemctl", "stop", "lab-needs.service", "lab-part.service"])
    for name in ("lab-needs", "lab-part"):
        (host.path / SYSTEM / f"{name}.service").unlink()
    host.run(["systemctl", "daemon-reload"])


def test_what_a_restart_takes_down_comes_back_once_also_after_a_failure(chain: Site) -> None:
    health = QUICK.format(unit="lab.service")
    good = counted("lab.service")
    one = chain.build({f"{SYSTEM}/lab.service": good}, health)
    two = chain.build({f"{SYSTEM}/lab.service": good + "# 2\n"}, health)
    bad = chain.build({f"{SYSTEM}/lab.service": good.replace("/bin/sleep 1000", "/bin/false")}, health)
    chain.ashore("install", one)
    chain.host.run(["systemctl", "start", "lab-needs.service", "lab-part.service"])
    chain.started()
    assert "restart lab-needs.service: it goes down with lab.service" in chain.ashore("install", two).stderr
    assert chain.started() == ["lab-needs.service", "lab-part.service", "lab.service"]
    chain.ashore("install", bad, code=7)
    for unit in ("lab.service", "lab-needs.service", "lab-part.service"):
        assert chain.host.show(unit, "ActiveState") == "active", unit
    outcome = chain.ashore("remove", "app")
    assert "lab-needs.service needs lab.service and stops with it" in outcome.stdout
    assert chain.host.show("lab-part.service", "ActiveState") == "active"


MAPS = """\
import mmap, time
file = open("/usr/local/lib/lab/table.so", "rb")
held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
time.sleep(1000)
"""


def test_a_process_that_still_has_the_old_file_in_memory_restarts_though_nothing_names_the_file(site: Site) -> None:
    """By device and inode, on the overlay that this host's root is: an exchanged file does not show as deleted."""
    host = site.host
    program = host.write("srv/maps.py", MAPS)
    unit = host.write(f"{SYSTEM}/lab-maps.service", "[Service]\nExecStart=/usr/bin/python3 /srv/maps.py\n")
    one, two = (site.build({"usr/local/lib/lab/table.so": f"{n}\n" * 5000, "etc/lab/n": str(n)}) for n in (1, 2))
    site.ashore("install", one)
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", "lab-maps.service"])
    first = host.show("lab-maps.service", "InvocationID")
    for _ in range(200):
        if "table.so" in host.run(["sh", "-c", f"cat /proc/{host.show('lab-maps.service', 'MainPID')}/maps"]).stdout:
            break
        time.sleep(0.05)
    reason = "usr/local/lib/lab/table.so, which it has in memory, changed"
    assert f"restart lab-maps.service: {reason}" in site.ashore("plan", two).stdout
    site.ashore("install", two)
    assert host.show("lab-maps.service", "InvocationID") != first
    host.run(["systemctl", "stop", "lab-maps.service"])
    site.ashore("remove", "app")
    program.unlink()
    unit.unlink()
    host.run(["systemctl", "daemon-reload"])


def certificate(folder: Path) -> str:
    made = folder / "made.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=lab -days 1 -keyout /dev/null"
    subprocess.run([*make.split(), "-out", made], check=True, capture_output=True)
    return made.read_text()


def test_every_trigger_is_planned_run_and_goes_with_its_bundle(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host = site.host
    library = host.path / "usr/lib/x86_64-linux-gnu/libz.so.1.2.13"
    pem = certificate(tmp_path_factory.mktemp("ca"))
    files: dict[str, str | bytes] = {
        "usr/lib/sysusers.d/lab.conf": 'u labtrigger - "Lab" /var/lib/labtrigger\n',
        "usr/lib/sysctl.d/lab.conf": "net.core.somaxconn = 1024\n-net.ipv4.conf.*.accept_redirects = 1\n",
        "usr/lib/tmpfiles.d/lab.conf": "d /var/lib/labtrigger/cache 0750 labtrigger labtrigger -\n",
        "etc/udev/hwdb.d/lab.hwdb": "lab:*\n LAB_ID=1\n",
        "etc/udev/rules.d/lab.rules": 'KERNEL=="lab", MODE="0660"\n',
        "usr/local/share/ca-certificates/lab.crt": pem,
        "usr/local/lib/libz.so.1.9": library.read_bytes(),
        "usr/lib/modules/6.1-lab/extra/lab.ko": "no module at all\n",
        "etc/labtrigger.secret": "for one user alone\n",
    }  # fmt: skip
    image = site.build(files, '[[files]]\npath = "etc/labtrigger.secret"\nowner = "labtrigger"\nmode = "0600"\n')
    planned = site.ashore("plan", image).stdout
    assert "sysusers before files are placed: usr/lib/sysusers.d/lab.conf is new  [not reversible]" in planned
    assert "net.core.somaxconn = 1024 (now 4096)" in planned
    assert "udev not on this host" in planned, "no udevd runs in a container"
    assert (
        "/usr/local/lib/libz.so.1.9 comes before the host's own /usr/lib/x86_64-linux-gnu/libz.so.1 (package zlib1g)"
        in planned
    )
    assert "labtrigger" not in site.text("etc/passwd"), "a plan makes nobody"

    site.ashore("install", image)
    owner = host.run(["stat", "-c", "%U %a", "/etc/labtrigger.secret", "/var/lib/labtrigger/cache"]).stdout
    assert owner == "labtrigger 600\nlabtrigger 750\n"
    assert (site.setting(BACKLOG), site.setting(REDIRECTS)) == ("1024", "1")
    assert pem.strip() in site.text("etc/ssl/certs/ca-certificates.crt")
    assert "/usr/local/lib/libz.so.1\n" in host.run(["ldconfig", "-p"]).stdout
    assert "LAB_ID=1" in host.run(["systemd-hwdb", "query", "lab:x"]).stdout
    assert "extra/lab.ko:" in site.text("usr/lib/modules/6.1-lab/modules.dep")

    site.ashore("remove", "app")
    assert (site.setting(BACKLOG), site.setting(REDIRECTS)) == ("4096", "0")
    assert "LAB_ID" not in host.run(["systemd-hwdb", "query", "lab:x"]).stdout
    assert "/usr/local/lib/libz.so.1\n" not in host.run(["ldconfig", "-p"]).stdout
    assert not (host.path / "var/lib/labtrigger").exists()


def test_a_unit_that_fails_after_a_setting_was_changed_puts_the_old_value_back(site: Site) -> None:
    fails = "[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"
    bad = site.build({f"{SYSTEM}/lab.service": fails, "etc/sysctl.d/lab.conf": "net.core.somaxconn = 77\n"})
    site.ashore("install", bad, code=7)
    assert site.setting(BACKLOG) == "4096"


def test_a_bad_line_of_the_hosts_own_blocks_no_bundle_and_one_of_the_bundles_own_goes_back(site: Site) -> None:
    foreign = site.host.path / "etc/sysctl.d/98-local.conf"
    foreign.write_text("kernel.foo bar\n")
    good = site.build({"etc/sysctl.d/60-x.conf": "net.core.somaxconn = 1024\nnet.core.nosuch = 1\n"})
    bad = site.build({"etc/sysctl.d/60-x.conf": "net.core.somaxconn = many\n"})
    done = site.ashore("install", good)
    assert "98-local.conf" in done.stderr and "not one of this change" in done.stderr
    assert "sets net.core.nosuch, which this kernel does not have now" in done.stdout + done.stderr
    assert site.setting(BACKLOG) == "1024"
    failed = site.ashore("install", bad, code=7)
    assert "somaxconn" in failed.stderr and site.setting(BACKLOG) == "1024"
    site.ashore("remove", "app")
    assert site.setting(BACKLOG) == "4096"
    foreign.unlink()


STEPS = """
[[step]]
name = "drain"
phase = "before"
command = ["/bin/sh", "-c", "echo before $ASHORE_BUNDLE $ASHORE_NEW_VERSION; touch /run/drained"]
reason = "the lab is drained first"
[[step]]
name = "drain"
phase = "undo"
command = ["/bin/rm", "/run/drained"]
reason = "and filled again"
[[step]]
name = "check"
phase = "after"
command = ["/bin/sh", "-c", "{check}"]
within = "2s"
reason = "it looks at the result"
"""


def test_steps_are_told_in_the_audit_log_and_a_failure_undoes_them(site: Site) -> None:
    good = site.build({"etc/lab/n": "1"}, STEPS.format(check="cat /etc/lab/n"))
    late = site.build({"etc/lab/n": "2"}, STEPS.format(check="echo waiting; sleep 100 & wait"))
    assert "before app/drain" in site.ashore("plan", good).stdout
    site.ashore("install", good)
    lines = [json.loads(line) for line in site.text("var/lib/ashore/audit.jsonl").splitlines()]
    assert [(line["phase"], line["output"]) for line in lines if "output" in line] == [
        ("before", "before app 0"),
        ("after", "1"),
    ]
    failed = site.ashore("install", late, code=7)
    assert "did not end within 2 s" in failed.stderr and "waiting" in failed.stderr
    assert site.text("etc/lab/n") == "1"
    assert site.host.run(["test", "-e", "/run/drained"], check=False).returncode == 1
    assert "sleep 100" not in site.host.run(["ps", "-eo", "args"]).stdout, "nothing of it runs on"


def test_firmware_on_a_read_only_usr_goes_where_the_kernel_is_told_to_look(site: Site) -> None:
    host, parameter = site.host, "/sys/module/firmware_class/parameters/path"
    if host.run(["cat", parameter], check=False).stdout.strip():
        pytest.skip("this machine's kernel looks for firmware elsewhere already")
    for command in ("mount -o remount,bind,rw /sys", "mount --bind /usr /usr", "mount -o remount,bind,ro /usr"):
        host.run(command.split())
    try:
        image = site.build({"usr/lib/firmware/lab/a.bin": "firmware\n"})
        assert "/usr/lib/firmware is read-only: firmware goes to /var/lib/firmware" in site.ashore("plan", image).stdout
        site.ashore("install", image)
        assert site.text("var/lib/firmware/lab/a.bin") == "firmware\n"
        assert host.run(["cat", parameter]).stdout == "/var/lib/firmware\n"
        assert parameter in site.text("etc/tmpfiles.d/ashore-firmware-app.conf"), "what tells it at the next boot"
        site.ashore("remove", "app")
        assert host.run(["cat", parameter]).stdout.strip() == ""
    finally:
        host.run(["sh", "-c", f"printf '\\n' > {parameter}"], check=False)
        host.run(["umount", "--lazy", "/usr"])


def test_what_a_power_cut_left_is_derived_again_once_the_host_is_up(fresh_host: lab.Host, tmp_path: Path) -> None:
    """Early recovery brings the files back and waits for no program; the store of certificates follows."""
    site = Site(fresh_host, tmp_path)
    (fresh_host.path / "root/images").mkdir()
    store = fresh_host.path / "etc/ssl/certs/ca-certificates.crt"
    pem, before = certificate(tmp_path), store.read_text()
    hangs = "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
    files = {f"{SYSTEM}/lab.service": hangs, "usr/local/share/ca-certificates/lab.crt": pem}
    image = site.build(files, STEPS.format(check="true"))
    install = fresh_host.argv(["/usr/local/bin/ashore", "install", image])
    follower = subprocess.Popen(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(lambda: fresh_host.show("lab.service", "ActiveState") == "activating")
    assert pem.strip() in store.read_text()
    fresh_host.run(["sync"])
    fresh_host.kill()
    follower.wait()
    fresh_host.boot()
    _wait(lambda: store.read_text() == before)
    assert not (fresh_host.path / "usr/local/share/ca-certificates/lab.crt").exists()
    _wait(lambda: not (fresh_host.path / "var/lib/ashore/due.json").exists())
    audit = (fresh_host.path / "var/lib/ashore/audit.jsonl").read_text()
    assert '"due":"certificates"' in audit and '"due":"undo app/drain"' in audit


def _wait(holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
