# SPDX-License-Identifier: Apache-2.0
"""A host without an engine, without Python and without ashore: the printed unit fetches ashore first, by its hash."""

import functools
import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import lab
from tests.system.conftest import require_real
from tests.system.own_build import own_build, without_python
from tests.system.registry_server import available, registry_server
from tests.system.snapshot import differences
from tests.system.test_boot import Node
from tests.system.test_main_job import wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that counts what is asked."""

    asked = 0

    def log_message(self, *_: object) -> None:
        Quiet.asked += 1


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[str, str, int]]:
    """The archive of the self-contained build on a server of loopback: its address, SHA-256 and port."""
    require_real()
    folder = tmp_path / "files"
    folder.mkdir()
    file = folder / "ashore-x86_64.tar.gz"
    own = own_build()
    subprocess.run(["tar", "-czf", file, "-C", own.parent, f"--transform=s/^{own.name}/ashore/", own.name], check=True)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        yield f"http://127.0.0.1:{port}/{file.name}", hashlib.sha256(file.read_bytes()).hexdigest(), port
        server.shutdown()


def test_ashore_is_fetched_by_its_hash_and_only_once(archive: tuple[str, str, int], tmp_path: Path) -> None:
    if not available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    url, digest, port = archive
    with registry_server() as registry, lab.host("bare", include=("curl",)) as host:
        without_python(host)
        host.forward(port)
        host.forward(registry.port)
        node = Node(host, registry, tmp_path)
        node.push("1")
        before = host.snapshot("opt", "usr", "var/lib")

        node.provision("--ashore-url", url, "--sha256", "0" * 64)
        host.run(["systemctl", "start", "--no-block", "ashore-boot.service"])
        wait_for(lambda: host.show("ashore-boot.service", "SubState") == "auto-restart")
        assert "did NOT match" in host.run(["journalctl", "--output=cat", "-u", "ashore-boot"]).stdout
        assert [line for line in differences(before, host.snapshot("opt", "usr", "var/lib")) if ".new" not in line] == [
            "+ opt/ashore", "+ opt/bin",
        ], "nothing can be run of what has another hash"  # fmt: skip

        node.provision("--ashore-url", url, "--sha256", digest)
        host.run(["systemctl", "restart", "ashore-boot.service"], seconds=60)
        assert "generation 1" in node.settled()
        assert node.active == "active"
        asked = Quiet.asked
        host.reboot()
        node.settled()
        assert (node.active, Quiet.asked) == ("active", asked), "it is here already"
