# SPDX-License-Identifier: Apache-2.0
"""Hosts that boot: the unit that `ashore provision unit` prints, on a host without Python, with a real registry."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import lab
from tests.system.conftest import require_real
from tests.system.own_build import own_build, without_python
from tests.system.registry_server import RegistryServer, available, registry_server
from tests.system.test_installer import ASHORE, bundle

pytestmark = [pytest.mark.real, pytest.mark.slow]

UNIT = "etc/systemd/system/ashore-boot.service"
_SECONDS = 30.0


class Node:
    """A host that boots by the unit, and the registry that has its image."""

    def __init__(self, host: lab.Host, registry: RegistryServer, folder: Path) -> None:
        self.host, self.registry, self._folder = host, registry, folder
        self.image = f"{registry.host}/k8s/worker:1"

    def push(self, version: str, body: str = "exec sleep infinity") -> None:
        """Let the tag name another version."""
        folder = self._folder / f"{version}-{time.monotonic_ns()}"
        folder.mkdir()
        subprocess.run([ASHORE, "build", bundle(folder, version, body), "-t", self.image, "--push"], check=True)

    def provision(self, *options: str) -> None:
        """Place the unit, as user-data would, and enable it."""
        done = subprocess.run(
            [ASHORE, "provision", "unit", "--engine", "none", *options, self.image],
            check=True,
            capture_output=True,
            text=True,
        )
        self.host.write(UNIT, done.stdout)
        self.host.run(["systemctl", "daemon-reload"])
        self.host.run(["systemctl", "enable", "ashore-boot.service"])

    def settled(self) -> str:
        """Wait until the boot's change has ended; what the boot said."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            boot, settle = (
                self.host.show("ashore-boot.service", "SubState"),
                self.host.show("ashore-settle", "SubState"),
            )
            if boot in {"exited", "failed"} and settle not in {"start", "running"}:
                break
            time.sleep(0.1)
        units = ("-u", "ashore-boot", "-u", "ashore-settle", "-u", "ashore-recover", "-u", "app")
        return self.host.run(["journalctl", "--no-pager", "--boot", "--output=cat", *units]).stdout

    @property
    def version(self) -> str:
        """What is installed, by the program's own text."""
        return (self.host.path / "opt/bin/app").read_text()

    @property
    def active(self) -> str:
        return self.host.show("app.service", "ActiveState")


@pytest.fixture
def node(fresh_host: lab.Host, tmp_path: Path) -> Iterator[Node]:
    """A host with the self-contained build and nothing installed by it."""
    if not available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    without_python(fresh_host)
    (fresh_host.path / "opt/ashore").mkdir()
    (fresh_host.path / "opt/bin").mkdir()
    subprocess.run(["cp", "-a", own_build(), fresh_host.path / "opt/ashore/0.1.0"], check=True)
    (fresh_host.path / "opt/bin/ashore").symlink_to("/opt/ashore/0.1.0/ashore")
    with registry_server() as registry:
        fresh_host.forward(registry.port)
        made = Node(fresh_host, registry, tmp_path)
        made.push("1")
        yield made


def start(node: Node) -> str:
    node.host.run(["systemctl", "start", "ashore-boot.service"], check=False, seconds=60)
    return node.settled()


def test_systemd_takes_the_unit_and_a_first_boot_installs(node: Node) -> None:
    require_real()
    node.provision()
    done = node.host.run(["systemd-analyze", "verify", "ashore-boot.service"], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    node.host.reboot()
    said = node.settled()
    assert "generation 1" in said
    assert node.active == "active"
    assert node.host.show("ashore-boot.service", "ActiveState") == "active"
    done = node.host.run(["systemd-analyze", "verify", "app.service", "ashore-recover.service"], check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_always_takes_what_the_tag_names_now_and_the_unit_starts_after_it(node: Node) -> None:
    node.provision("--pull", "always")
    start(node)
    node.push("2", "exec sleep 2000")
    node.host.reboot()
    said = node.settled()
    assert "sleep 2000" in node.version
    assert node.active == "active"
    assert said.index("Finished ashore-boot.service") < said.index("Started app.service")
    assert said.count("Started app.service") == 1, "it never ran with the old files"


def test_missing_stays_with_what_is_recorded(node: Node) -> None:
    node.provision()
    start(node)
    node.push("2", "exec sleep 2000")
    node.host.reboot()
    assert "the pull policy is missing" in node.settled()
    assert "sleep infinity" in node.version
    assert node.active == "active"


def test_without_a_registry_a_node_comes_up_with_what_it_has(node: Node) -> None:
    node.provision("--pull", "always")
    start(node)
    node.host.cut(node.registry.port)
    node.host.reboot()
    assert "what is installed stays" in node.settled()
    assert node.active == "active"
    assert node.host.show("ashore-boot.service", "Result") == "success"


def test_a_first_boot_without_a_registry_is_tried_again(node: Node) -> None:
    node.provision()
    dropin = "etc/systemd/system/ashore-boot.service.d/soon.conf"
    node.host.write(dropin, "[Service]\nRestartSec=1s\n")
    node.host.run(["systemctl", "daemon-reload"])
    node.host.cut(node.registry.port)
    node.host.run(["systemctl", "start", "--no-block", "ashore-boot.service"])
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and node.host.show("ashore-boot.service", "NRestarts") == "0":
        time.sleep(0.2)
    assert node.host.show("ashore-boot.service", "NRestarts") != "0"
    node.host.forward(node.registry.port)
    # Between two tries the unit rests, which looks settled: only its success ends the waiting.
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and node.host.show("ashore-boot.service", "ActiveState") != "active":
        time.sleep(0.2)
    said = node.settled()
    assert node.active == "active", said


def test_what_is_left_of_a_failed_change_does_not_keep_the_next_from_its_name(node: Node) -> None:
    """PID 1 now and then keeps a failed transient service that nobody refers to any more, in spite of --collect."""
    node.provision()
    node.host.run(["systemd-run", "--unit=ashore-settle.service", "--wait", "--quiet", "false"], check=False)
    assert node.host.show("ashore-settle.service", "ActiveState") == "failed"
    said = start(node)
    assert node.active == "active", said


def test_a_version_that_fails_goes_back_and_does_not_come_again(node: Node) -> None:
    node.provision("--pull", "always")
    start(node)
    node.push("2", "exit 3")
    node.host.reboot()
    said = node.settled()
    assert "units did not come up" in said
    assert node.active == "active", said
    assert "sleep infinity" in node.version
    node.host.reboot()
    assert "is held" in node.settled()
    assert node.active == "active"


def test_a_power_cut_is_recovered_before_any_unit_of_the_bundle_starts(node: Node) -> None:
    node.provision("--pull", "always")
    start(node)
    node.push("2", "exec sleep 2000")
    node.host.run(["systemctl", "restart", "--no-block", "ashore-boot.service"])
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and "sleep 2000" not in node.version:
        time.sleep(0.02)
    assert (node.host.path / "var/lib/ashore/journal").is_dir(), "the new version is in place and not yet judged"
    node.host.kill()
    node.host.cut(node.registry.port)
    node.host.boot()
    said = node.settled()
    assert "went back to the old generation: 1" in said
    assert said.index("Started ashore-recover.service") < said.index("Started app.service")
    assert "sleep infinity" in node.version
    assert node.active == "active"
    assert not (node.host.path / "var/lib/ashore/journal").exists()


def test_a_boot_unit_that_is_killed_comes_back_to_the_change_that_goes_on(node: Node) -> None:
    node.provision("--pull", "always")
    node.host.write("etc/systemd/system/ashore-boot.service.d/soon.conf", "[Service]\nRestartSec=100ms\n")
    start(node)
    node.push("2", "exec sleep 2000")
    node.host.run(["systemctl", "daemon-reload"])
    node.host.run(["systemctl", "restart", "--no-block", "ashore-boot.service"])
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and node.host.show("ashore-settle", "SubState") != "start":
        time.sleep(0.02)
    node.host.run(["systemctl", "kill", "--signal=KILL", "ashore-boot.service"])
    while time.monotonic() < deadline and node.host.show("ashore-boot.service", "ActiveState") != "active":
        time.sleep(0.05)
    said = node.settled()
    assert node.host.show("ashore-boot.service", "NRestarts") == "1"
    assert "sleep 2000" in node.version, said
    assert node.active == "active"
    assert "is held" not in said


def test_never_installs_nothing_and_says_so(node: Node) -> None:
    node.provision("--pull", "never")
    said = start(node)
    assert "the pull policy is never" in said
    assert node.host.show("ashore-boot.service", "Result") == "exit-code"
    assert not (node.host.path / "opt/bin/app").exists()
