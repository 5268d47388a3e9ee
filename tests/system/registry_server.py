# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry, started on a free port of loopback with storage of its own."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import TracebackType

PROGRAM = "docker-registry"


def available() -> bool:
    """Whether this machine has it."""
    return shutil.which(PROGRAM) is not None


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RegistryServer:
    """A real registry. ``user`` and ``password`` switch basic authentication on; `certificate` is (crt, key).

    Two of different `name` can serve one folder.
    """

    def __init__(
        self,
        folder: str,
        *,
        user: str = "",
        password: str = "",
        certificate: tuple[str, str] | None = None,
        name: str = "registry",
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.host = f"localhost:{self.port}"
        self.log = os.path.join(folder, f"{name}.log")
        self._config = os.path.join(folder, f"{name}.json")
        http: dict[str, object] = {"addr": f"127.0.0.1:{self.port}", "secret": "only-for-tests"}
        if certificate:
            http["tls"] = {"certificate": certificate[0], "key": certificate[1]}
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": os.path.join(folder, "storage")}, "delete": {"enabled": True}},
            "http": http,
        }
        if user:
            config["auth"] = {"htpasswd": {"realm": "test", "path": self._htpasswd(user, password)}}
        os.makedirs(folder, exist_ok=True)
        with open(self._config, "w") as file:
            json.dump(config, file)  # JSON is YAML
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", self._config], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        self.stop()
        with open(self.log) as log:
            raise RuntimeError(f"{PROGRAM} does not come up: {log.read()[-2000:]}")

    def stop(self) -> None:
        """Stop it; its storage stays."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> "RegistryServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _htpasswd(self, user: str, password: str) -> str:
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, "htpasswd")
        done = subprocess.run(["htpasswd", "-Bbn", user, password], capture_output=True, check=True)
        with open(path, "wb") as file:
            file.write(done.stdout)
        return path


@contextlib.contextmanager
def registry_server(*, user: str = "", password: str = "") -> Iterator[RegistryServer]:
    """A registry in a folder that goes away with it."""
    with (
        tempfile.TemporaryDirectory(prefix="ashore-registry-") as folder,
        RegistryServer(folder, user=user, password=password) as server,
    ):
        yield server


def main() -> None:
    """Serve until Enter or end of input: for trying things by hand."""
    with registry_server() as server:
        print(f"{server.host} (storage in {server.folder})", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
