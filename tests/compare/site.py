# SPDX-License-Identifier: Apache-2.0
"""Where everybody works: a booted host with sshd, Python, and podman, and a registry that it reaches."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.compare import material
from tests.system import engine, lab, registry_server
from tests.system.snapshot import Snapshot

FOLDERS = ("etc", "opt", "usr", "srv", "home", "root")
PACKAGES = (*engine.PACKAGES, "openssh-server")


class Site:
    """One host for one job of one contender."""

    def __init__(self, host: lab.Host, registry: registry_server.RegistryServer, folder: Path) -> None:
        self.host, self.registry, self.folder = host, registry, folder

    def snapshot(self) -> Snapshot:
        return self.host.snapshot(*FOLDERS)

    def read(self, path: str) -> str:
        try:
            return (self.host.path / path).read_text()
        except FileNotFoundError:
            return ""

    def runs(self) -> dict[str, str]:
        """Service -> what identifies its run."""
        return {name: self.host.show(f"{name}.service", "InvocationID") for name in material.SERVICES}

    def configured(self, name: str) -> bool:
        """Whether a service runs with the configuration that lies on the disk."""
        return (Path(self.host.live_root) / "run/demo" / name).read_text() == self.read(f"etc/demo/{name}.conf")

    def login_works(self) -> bool:
        """Whether sshd would come up: after its next restart, or a reboot."""
        return self.host.run(["/usr/sbin/sshd", "-t"], check=False).returncode == 0


@contextlib.contextmanager
def site(name: str, registry: registry_server.RegistryServer) -> Iterator[Site]:
    """A fresh site, gone afterwards."""
    with lab.host(name, include=PACKAGES, engine=True) as host, tempfile.TemporaryDirectory() as folder:
        engine.prepare(host, registry.host)
        host.forward(registry.port)
        host.run(["sh", "-c", "mkdir -p /run/sshd; systemctl is-active --quiet ssh || systemctl start ssh"])
        made = Path(folder)
        yield Site(host, registry, made)


def tell(argv: list[str], seconds: float = 300) -> "subprocess.CompletedProcess[str]":
    """Run a program of this machine."""
    settings = os.environ | {"ANSIBLE_PIPELINING": "True"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=seconds, env=settings)
