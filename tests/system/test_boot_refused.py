# SPDX-License-Identifier: Apache-2.0
"""A boot whose bundle cannot be installed: a clear line on the console and in the journal, its exit code, no change."""

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.system.snapshot import Snapshot, differences
from tests.system.test_boot import Node, node
from tests.system.test_installer import ASHORE

__all__ = ["node"]
pytestmark = [pytest.mark.real, pytest.mark.slow]

INTERFACE = "address = {{ facts.network.interfaces.eth7.ipv4 }}\n"
VALUE = "server = {{ api_server }}\n"
REQUIRED = '[values]\napi_server = { required = true, description = "https URL of the API server" }\n'


def push(node: Node, folder: Path, toml: str, files: Mapping[str, str], *options: str) -> None:
    """Let the node's tag name another bundle."""
    top = folder / f"bundle-{time.monotonic_ns()}"
    for name, text in files.items():
        path = top / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (top / "bundle.toml").write_text(f'name = "worker"\nversion = "9"\n{toml}')
    subprocess.run([ASHORE, "build", top, *options, "-t", node.image, "--push"], check=True)


def refused(node: Node) -> tuple[str, str, Snapshot]:
    """Boot by the unit: what the journal says, what the console shows, and the host before."""
    console = node.host.path.parent / "console.log"
    node.provision()
    before = node.host.snapshot("etc", "opt", "usr")
    shown = console.stat().st_size
    node.host.run(["systemctl", "start", "ashore-boot.service"], check=False, seconds=60)
    said = node.settled()
    with console.open("rb") as file:
        file.seek(shown)
        return said, file.read().decode(errors="replace"), before


def unchanged(node: Node, before: Snapshot) -> list[str]:
    """What is not as before, but for ashore's own recovery unit."""
    return [line for line in differences(before, node.host.snapshot("etc", "opt", "usr")) if "ashore" not in line]


def test_an_interface_and_a_value_that_this_host_has_not(node: Node, tmp_path: Path) -> None:
    push(node, tmp_path, REQUIRED, {"etc/app/a.conf.j2": INTERFACE, "etc/app/b.conf.j2": VALUE})
    said, console, before = refused(node)
    for place in (said, console):
        assert "the value api_server is not set: https URL of the API server" in place
        assert "/etc/ashore/values.d/*.toml" in place, "what to do"
    assert node.host.show("ashore-boot.service", "ExecMainStatus") == "3"
    assert node.host.show("ashore-boot.service", "NRestarts") == "0", "another try would not mend it"
    assert unchanged(node, before) == []

    node.host.write("etc/ashore/values.d/50-site.toml", 'api_server = "https://10.0.0.1:6443"\n')
    said, console, before = refused(node)
    for place in (said, console):
        assert "etc/app/a.conf.j2:1: facts.network.interfaces.eth7 is unknown on this host (it has: eth0" in place
    assert node.host.show("ashore-boot.service", "ExecMainStatus") == "3"
    assert unchanged(node, before) == []


def test_a_bundle_for_another_processor(node: Node, tmp_path: Path) -> None:
    push(node, tmp_path, "", {"etc/app/a.conf": "a\n"}, "--platform", "linux/arm64")
    said, console, before = refused(node)
    for place in (said, console):
        assert "linux/arm64" in place
        assert "linux/amd64" in place
    assert node.host.show("ashore-boot.service", "ExecMainStatus") == "3"
    assert unchanged(node, before) == []


def test_values_that_are_no_toml(node: Node) -> None:
    node.host.write("etc/ashore/values.d/50-provision.toml", "api_server = https://10.0.0.1\n")
    said, console, before = refused(node)
    for place in (said, console):
        assert "/etc/ashore/values.d/50-provision.toml:1" in place
    assert node.host.show("ashore-boot.service", "ExecMainStatus") == "3"
    assert unchanged(node, before) == []
