# SPDX-License-Identifier: Apache-2.0
"""Edits, validators and packages on a booted Debian: with its own sshd, sudo, nginx and systemd."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system import lab, registry_server
from tests.system.conftest import require_real
from tests.system.snapshot import differences

pytestmark = pytest.mark.real

SSHD, SUDOERS, SITE = "etc/ssh/sshd_config", "etc/sudoers", "etc/nginx/conf.d/site.conf"
RULE = '[[files]]\npath = "{path}"\nadopt = true\nmode = "{mode}"\nvalidate = {argv}\n'
SSHD_RULE = RULE.format(path=SSHD, mode="0644", argv='["/usr/sbin/sshd", "-t", "-f", "{path}"]')
SUDO_RULE = RULE.format(path=SUDOERS, mode="0440", argv='["visudo", "-cf", "{path}"]')
NGINX_RULE = f'[[files]]\npath = "{SITE}"\nvalidate = ["nginx", "-t"]\nreload = ["nginx.service"]\n'
UNIT = "[Service]\nExecStart=/opt/bin/{name}\n[Install]\nWantedBy=multi-user.target\n"


class Site:
    """A host with real services, and a registry that it reaches."""

    def __init__(self, host: lab.Host, registry: registry_server.RegistryServer, folder: Path) -> None:
        self.host, self.registry, self.folder = host, registry, folder
        self.count = 0

    def push(self, files: Mapping[str, str], toml: str = "", name: str = "app", tag: str = "") -> str:
        self.count += 1
        folder = self.folder / str(self.count)
        for path, text in files.items():
            file = folder / "root" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if path.startswith("opt/bin") else 0o644)
        (folder / "bundle.toml").write_text(f'name = "{name}"\n{toml}')
        reference = f"{self.registry.host}/edits/{name}:{tag or self.count}"
        command = [sys.executable, "-m", "ashore", "build", "--no-lint", str(folder), "-t", reference, "--push"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return reference

    def run(self, *arguments: str, code: int = 0) -> str:
        done = self.host.ashore(*arguments, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def refused(self, reference: str, *said: str) -> None:
        """Exit code 7, and nothing of the host is another afterwards."""
        before = self.host.snapshot()
        told = self.run("install", reference, code=7)
        assert differences(before, self.host.snapshot()) == []
        for word in said:
            assert word in told

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def read(self, path: str) -> str:
        return (self.host.path / path).read_text()


@pytest.fixture(scope="module")
def whole_site() -> Iterator[Site]:
    require_real()
    if not registry_server.available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    with (
        lab.host("edits", include=lab.SERVICES) as host,
        registry_server.registry_server() as registry,
        tempfile.TemporaryDirectory() as folder,
    ):
        host.forward(registry.port)
        host.run(["mkdir", "-p", "/run/sshd"])
        host.run(["systemctl", "start", "nginx.service"])
        yield Site(host, registry, Path(folder))


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The shared host; afterwards nothing is installed on it, and it is as it was."""
    before = whole_site.host.snapshot()
    yield whole_site
    if bundles := [bundle["name"] for bundle in whole_site.json("status")["bundles"]]:
        whole_site.run("remove", *bundles)
    assert differences(before, whole_site.host.snapshot()) == []


def test_an_edited_sshd_config_is_merged_checked_by_sshd_and_given_back(site: Site) -> None:
    before = site.read(SSHD)
    shipped = before + "\n# of the bundle\nMaxAuthTries 4\n"
    one = site.push({SSHD: shipped}, SSHD_RULE)
    two = site.push({SSHD: shipped.replace("MaxAuthTries 4", "MaxAuthTries 3")}, SSHD_RULE)
    bad = site.push({SSHD: shipped.replace("MaxAuthTries 4", "MaxAuthTriez 3")}, SSHD_RULE)
    site.run("install", one)
    site.run("confirm")  # who changes sshd has to say that they can still log in
    mine = site.read(SSHD).replace("X11Forwarding yes", "X11Forwarding no", 1)
    assert mine != shipped
    site.host.write(SSHD, mine)
    site.refused(bad, "MaxAuthTriez", f"/{SSHD}")
    told = site.run("install", two)
    assert "merged" in told
    site.run("confirm")
    assert "MaxAuthTries 3" in site.read(SSHD) and "X11Forwarding no" in site.read(SSHD)
    said = site.host.run(["/usr/sbin/sshd", "-T"]).stdout
    assert "maxauthtries 3" in said and "x11forwarding no" in said
    site.run("rollback")
    assert site.read(SSHD) == mine
    site.run("remove", "app", "--purge")
    assert site.read(SSHD) == before


def test_a_file_of_a_package_is_named_adopted_checked_by_visudo_and_given_back(site: Site) -> None:
    before, mode = site.read(SUDOERS), (site.host.path / SUDOERS).stat().st_mode
    text = before + "%admins ALL=(ALL:ALL) NOPASSWD: ALL\n"
    refused = site.push({SUDOERS: text}, '[[files]]\npath = "etc/sudoers"\nmode = "0440"\n')
    assert "belongs to package sudo" in site.run("install", refused, code=6)
    site.refused(site.push({SUDOERS: text + "nonsense\n"}, SUDO_RULE), "visudo", f"/{SUDOERS}")
    site.run("install", site.push({SUDOERS: text}, SUDO_RULE))
    assert site.read(SUDOERS) == text
    site.host.run(["visudo", "-c"])
    site.run("remove", "app")
    assert (site.read(SUDOERS), (site.host.path / SUDOERS).stat().st_mode) == (before, mode)


def test_an_sshd_config_that_was_edited_before_is_merged_from_what_debian_had_placed(site: Site) -> None:
    placed = site.read("var/lib/ucf/cache/:etc:ssh:sshd_config")
    before = site.read(SSHD)
    mine = placed.replace("X11Forwarding yes", "X11Forwarding no", 1)
    site.host.write(SSHD, mine)
    try:
        reference = site.push({SSHD: placed + "\n# of the bundle\nMaxAuthTries 4\n"}, SSHD_RULE)
        assert "package openssh-server" in site.run("install", site.push({SSHD: "x"}, name="other"), code=6)
        assert "merged with this host's edit" in site.run("plan", reference)
        site.run("install", reference)
        said = site.host.run(["/usr/sbin/sshd", "-T"]).stdout
        assert "maxauthtries 4" in said and "x11forwarding no" in said
        site.run("confirm")
        site.run("remove", "app", "--purge")
        assert site.read(SSHD) == mine
    finally:
        site.host.write(SSHD, before)


def test_nginx_looks_at_all_of_it_in_place_before_it_is_told_to_reload(site: Site) -> None:
    good = "server { listen 8099; location / { return 200 'one'; } }\n"
    site.run("install", site.push({SITE: good}, NGINX_RULE))
    fetch = ["python3", "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8099').read().decode())"]
    assert site.host.run(fetch).stdout.strip() == "one"
    invocation = site.host.show("nginx.service", "InvocationID")
    bad = site.push({SITE: good.replace("listen", "lissen")}, NGINX_RULE)
    site.refused(bad, "lissen", f"/{SITE}")
    assert site.host.run(fetch).stdout.strip() == "one"
    assert site.host.show("nginx.service", "InvocationID") == invocation


def test_a_shipped_unit_is_verified_without_being_asked(site: Site) -> None:
    program = {"opt/bin/app": "#!/bin/sh\nexec sleep 1000\n"}
    path = "etc/systemd/system/app.service"
    good = UNIT.format(name="app").replace("[Service]", "[Unit]\nRequires=beside.service\n[Service]")
    beside = {"etc/systemd/system/beside.service": UNIT.format(name="app")}
    bad = {**program, **beside, path: good.replace("ExecStart=", "ExecStrat=")}
    site.refused(site.push(bad), f"/{path}", "ExecStart")
    told = site.run("install", site.push({**program, **beside, path: good}))
    assert "not on this host" not in told, "its program and its neighbour come along"
    assert site.host.show("app.service", "ActiveState") == "active"
    drop_in = {"etc/systemd/system/nginx.service.d/app.conf": "[Service]\nType=nonsense\nExecStart=\n"}
    site.refused(site.push(drop_in, name="drop"), "nginx.service.d/app.conf")


def test_what_waits_is_taken_by_a_service_of_pid_1_and_restarts_what_reads_it(site: Site) -> None:
    files = {
        "opt/bin/app": "#!/bin/sh\nexec sleep 1000\n",
        "etc/systemd/system/app.service": UNIT.format(name="app").replace(
            "[Install]", "EnvironmentFile=/etc/app.env\n[Install]"
        ),
    }
    site.run("install", site.push({**files, "etc/app.env": "A=1\n"}))
    site.host.write("etc/app.env", "A=mine\n")
    invocation = site.host.show("app.service", "InvocationID")
    site.run("install", site.push({**files, "etc/app.env": "A=2\n"}))
    assert site.host.show("app.service", "InvocationID") == invocation
    assert [item["reason"] for item in site.json("pending")] == ["both changed the same lines"]
    site.run("pending", "take", "/etc/app.env")
    assert site.read("etc/app.env") == "A=2\n"
    assert site.host.show("app.service", "InvocationID") != invocation


def address(site: Site, old: str, new: str) -> None:
    route = "route replace default via 10.77.0.1 dev eth0"
    for command in (f"address delete {old}/24 dev eth0", f"address add {new}/24 dev eth0", route):
        site.host.run(["ip", *command.split()])


def test_another_address_is_rendered_without_a_registry_and_restarts_what_reads_it(site: Site) -> None:
    files = {
        "opt/bin/app": "#!/bin/sh\nexec sleep 1000\n",
        "etc/app.env.j2": "A={{ facts.network.default.ipv4 }}\n# here\n# and here\nB=1\n",
        "etc/systemd/system/app.service": UNIT.format(name="app").replace(
            "[Install]", "EnvironmentFile=/etc/app.env\n[Install]"
        ),
        "etc/systemd/system/other.service": UNIT.format(name="app"),
    }
    reference = site.push(files, tag="stable")
    site.run("install", reference)
    site.host.write("etc/app.env", "A=10.77.0.2\n# here\n# and here\nB=mine\n")
    runs = {name: site.host.show(f"{name}.service", "InvocationID") for name in ("app", "other")}
    site.host.cut(site.registry.port)
    address(site, "10.77.0.2", "10.77.0.3")
    try:
        told = site.run("upgrade")
        assert "rendered anew" in told
        assert site.read("etc/app.env") == "A=10.77.0.3\n# here\n# and here\nB=mine\n"
        now = {name: site.host.show(f"{name}.service", "InvocationID") for name in ("app", "other")}
        assert now["app"] != runs["app"] and now["other"] == runs["other"]
        address(site, "10.77.0.3", "10.77.0.2")
        site.run("boot", reference, "--follow")
        assert site.read("etc/app.env") == "A=10.77.0.2\n# here\n# and here\nB=mine\n", "the boot unit does it as well"
    finally:
        site.host.forward(site.registry.port)
        if "10.77.0.3" in site.host.run(["ip", "address"]).stdout:
            address(site, "10.77.0.3", "10.77.0.2")


def test_a_unit_of_the_host_that_only_bundles_enable_runs_until_the_last_of_them_goes(site: Site) -> None:
    unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    path = site.host.path / "etc/systemd/system/lab-host.service"
    site.host.write("etc/systemd/system/lab-host.service", unit)
    site.host.run(["systemctl", "daemon-reload"])
    try:
        for name in ("first", "second"):
            site.run("install", site.push({f"etc/{name}": "x"}, '[units]\nenable = ["lab-host.service"]\n', name))
            assert site.host.show("lab-host.service", "ActiveState") == "active"
        site.run("remove", "first")
        assert site.host.show("lab-host.service", "ActiveState") == "active"
        assert site.host.show("lab-host.service", "UnitFileState") == "enabled"
        site.run("remove", "second")
        assert site.host.show("lab-host.service", "ActiveState") == "inactive"
        assert site.host.show("lab-host.service", "UnitFileState") == "disabled"
    finally:
        path.unlink()
        site.host.run(["systemctl", "daemon-reload"])
