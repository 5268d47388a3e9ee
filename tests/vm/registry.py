# SPDX-License-Identifier: Apache-2.0
"""A registry that machines reach by TLS, with an authority that user-data has to bring, and this machine without."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.system.own_build import own_build
from tests.system.registry_server import RegistryServer
from tests.vm.machine import GATEWAY, Given

_ASHORE = str(Path(sys.executable).parent / "ashore")


class Registry:
    """One storage, two servers: what is pushed to the one here is pulled from the other there."""

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "ca.pem"
        key = folder / "ca.key"
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{GATEWAY},IP:127.0.0.1",
                "-keyout", str(key), "-out", str(self.authority),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        self._inside = RegistryServer(str(folder))
        self._outside = RegistryServer(str(folder), certificate=(str(self.authority), str(key)), name="outside")
        self.port = self._outside.port
        self.host = f"{GATEWAY}:{self.port}"
        """Its name on the machines."""

    def name(self, repository: str) -> str:
        """How machines call an image, from its repository and tag."""
        return f"{self.host}/{repository}"

    def push(self, bundle: Path, repository: str, *options: str) -> None:
        """Build the bundle at a folder into an installer image under `repository` (with its tag)."""
        own = ["--installer", "--self-contained", str(own_build())]
        argv = [_ASHORE, "build", str(bundle), *own, *options, "-t", f"{self._inside.host}/{repository}", "--push"]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def trusted(self) -> dict[str, Given]:
        """What a machine needs to believe that it talks to this registry: Docker's file, and ashore's."""
        authority = Given(self.authority.read_text())
        return {f"etc/{engine}/certs.d/{self.host}/ca.crt": authority for engine in ("docker", "containers")}

    def start(self) -> None:
        """Answer the machines."""
        self._outside.start()

    def stop(self) -> None:
        """Answer no machine any more."""
        self._outside.stop()

    def open(self) -> None:
        """Start both."""
        self._inside.start()
        self._outside.start()

    def close(self) -> None:
        """Stop both."""
        self._outside.stop()
        self._inside.stop()


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    """A registry in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="ashore-registry-") as name:
        made = Registry(Path(name))
        try:
            made.open()
            yield made
        finally:
            made.close()
