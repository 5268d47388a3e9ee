# SPDX-License-Identifier: Apache-2.0
"""The page about a cluster, followed with the real Kubernetes: a reader's machine, a registry, and two booted hosts."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.pages import Page, pages
from tests.docs.shell import Reader
from tests.system import kubernetes, kubernetes_node, lab
from tests.system.forward import Published
from tests.system.registry_server import available, registry_server

pytestmark = [pytest.mark.real, pytest.mark.slow]

API = "10.0.0.10:6443"
"""What the page calls its API server."""
_SECONDS = 300
# Not today's Kubernetes, and hosts in containers: see kubernetes_node.
_LAB_VALUES = f"kubelet_args = {kubernetes_node.KUBELET_ARGS}\n"
_SCP = """\
#!/bin/sh
exec ssh "${2%%:*}" "cat >${2#*:} && chmod 600 ${2#*:}" <"$1"
"""


@pytest.fixture
def hosts() -> Iterator[dict[str, lab.Host]]:
    """The page's two machines, by the names that it calls them."""
    if reason := kubernetes.absent() or kubernetes_node.absent():
        pytest.skip(f"THE PAGE ABOUT KUBERNETES IS NOT FOLLOWED: {reason}")
    if not available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    with lab.host("control") as control, lab.host("node-1", address="10.77.1.2/24") as node:
        kubernetes_node.prepare(node)
        node.write("etc/ashore/values.d/60-lab.toml", _LAB_VALUES)
        yield {"control": control, "node-1": node}


def downloads(folder: Path) -> None:
    """What the reader has: the clone's examples, and both releases as they unpack."""
    shutil.copytree(kubernetes.EXAMPLES, folder / "examples/kubernetes")
    (folder / "kubernetes/server").mkdir(parents=True)
    (folder / "kubernetes/server/bin").symlink_to(kubernetes.programs())
    (folder / "etcd").mkdir()
    (folder / "etcd/etcd").symlink_to("/usr/bin/etcd")


def shims(folder: Path, hosts: dict[str, lab.Host]) -> str:
    """``ssh`` and ``scp`` to the hosts, for a PATH: they have no network to the reader's machine."""
    cases = "".join(f'{name}) exec {shlex.join(host.argv(["sh", "-c"]))} "$*" ;;\n' for name, host in hosts.items())
    (folder / "ssh").write_text(f"#!/bin/sh\nhost=$1; shift\ncase $host in\n{cases}esac\nexit 255\n")
    (folder / "scp").write_text(_SCP)
    for name in ("ssh", "scp"):
        (folder / name).chmod(0o755)
    return str(folder)


def shell(host: lab.Host) -> Callable[[str], tuple[int, str]]:
    """Runs a command on the host as the page shows it."""

    def run(command: str) -> tuple[int, str]:
        done = host.run(["bash", "-c", f"cd; exec 2>&1; {command}"], check=False, seconds=_SECONDS)
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize("page", [page for page in pages() if "kubernetes" in page.needs], ids=lambda page: page.name)
def test_every_command_about_a_cluster_does_what_the_page_says(
    page: Page, hosts: dict[str, lab.Host], tmp_path: Path
) -> None:
    folder, own = tmp_path / "you", tmp_path / "bin"
    own.mkdir()
    downloads(folder)
    control, node = hosts["control"], hosts["node-1"]
    door = Published(6443, f"/run/netns/{control.machine}")
    try:
        node.forward(door.port)
        with registry_server() as registry:
            for host in hosts.values():
                host.forward(registry.port)
            path = f"{shims(own, hosts)}:{Path(sys.executable).parent}:{os.environ['PATH']}"
            reader = Reader(
                folder,
                registry.host,
                hosts={"control": shell(control), "host": shell(node)},
                names={API: f"127.0.0.1:{door.port}"},
                environment={"PATH": path},
            )
            assert reader.follow(page, real=True)
    finally:
        door.close()
