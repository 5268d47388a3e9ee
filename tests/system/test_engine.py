# SPDX-License-Identifier: Apache-2.0
"""An installer image as users run it: by a container engine, from a registry, on a booted host without Python."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import engine, lab, registry_server
from tests.system.conftest import require_real
from tests.system.own_build import own_build, without_python
from tests.system.test_installer import ASHORE, bundle

pytestmark = [pytest.mark.real, pytest.mark.slow]

PRIVILEGED = "podman run --rm --privileged --net=host --ipc=host --uts=host"


class Node:
    """A host with podman, and a registry that it reaches."""

    def __init__(self, host: lab.Host, registry: registry_server.RegistryServer, folder: Path) -> None:
        self.host, self.registry, self.folder = host, registry, folder
        self.reference = f"{registry.host}/k8s/worker:1"
        host.forward(registry.port)
        engine.prepare(host, registry.host)
        without_python(host)

    def push(self, version: str, body: str = "exec sleep infinity") -> None:
        """An installer image under the one tag that the node follows."""
        top = bundle(self.folder, version, body)
        subprocess.run(
            [ASHORE, "build", top, "--installer", "--self-contained", own_build(), "-t", self.reference, "--push"],
            check=True,
        )

    def boot_unit(self, *options: str) -> str:
        command = [ASHORE, "provision", "unit", "--engine", "podman", *options, self.reference]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def status(self) -> str:
        return json.dumps(json.loads(self.host.run(["/opt/bin/ashore", "status", "--json"]).stdout))

    def main_pid(self) -> str:
        return self.host.show("app.service", "MainPID")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require_real()
    with (
        registry_server.registry_server() as registry,
        lab.host("engine", include=engine.PACKAGES, engine=True) as host,
    ):
        made = Node(host, registry, tmp_path_factory.mktemp("engine"))
        made.push("1")
        yield made


def test_the_articles_command_line_is_told_what_to_add(node: Node) -> None:
    """Without --pid=host, PID 1 of the host cannot be reached from a container."""
    before = node.host.snapshot("etc", "opt", "usr")
    done = node.host.run([*PRIVILEGED.split(), "-v", "/:/rootfs", node.reference], check=False, seconds=300)
    assert (done.returncode, "add --pid=host" in done.stderr) == (7, True), done.stdout + done.stderr
    assert node.host.snapshot("etc", "opt", "usr") == before


def test_the_printed_unit_installs_at_boot_and_keeps_the_node_up_without_a_registry(node: Node) -> None:
    node.host.write("etc/systemd/system/ashore-boot.service", node.boot_unit("--pull", "always"))
    node.host.run(["systemctl", "enable", "--quiet", "ashore-boot.service"])
    node.host.run(["systemctl", "start", "ashore-boot.service"], seconds=300)
    _settled(node)
    assert node.host.show("app.service", "ActiveState") == "active"
    assert '"generation": 1' in node.status()

    node.host.cut(node.registry.port)
    node.host.reboot()
    _settled(node)
    assert node.host.show("ashore-boot.service", "ActiveState") == "active"
    assert node.host.show("app.service", "ActiveState") == "active"
    assert '"generation": 1' in node.status()
    node.host.forward(node.registry.port)


def test_a_new_image_under_the_tag_comes_with_the_next_boot_and_a_bad_one_goes_back(node: Node) -> None:
    node.push("2", "exec sleep 1000000")
    node.host.reboot()
    _settled(node)
    assert '"version": "2"' in node.status()
    node.push("3", "exit 3")
    for _ in range(2):  # the second boot does not try it again
        node.host.reboot()
        _settled(node)
        assert '"version": "2"' in node.status()
        assert node.host.show("app.service", "ActiveState") == "active"
        assert "sleep 1000000" in (node.host.path / "opt/bin/app").read_text()
    installs = node.host.run(["/opt/bin/ashore", "history", "--json"]).stdout
    assert installs.count('"number"') == 2


def _settled(node: Node) -> None:
    """Wait for what the boot queued: the engine's unit, then the service that watches."""
    for unit in ("ashore-boot.service", "ashore-settle.service"):
        node.host.run(
            ["sh", "-c", f"while systemctl is-active {unit} | grep -qE 'activating|reloading'; do sleep 0.2; done"],
            seconds=180,
        )
    node.host.run(["sh", "-c", "while systemctl is-active --quiet ashore-settle.service; do sleep 0.2; done"])
