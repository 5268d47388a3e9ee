# SPDX-License-Identifier: Apache-2.0
"""Container engines read what ashore builds, and ashore fetches parts of what they build."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashore.cli import run
from tests.system.registry_server import RegistryServer, available

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0 or not (available() and shutil.which("podman") and shutil.which("buildah")),
        reason="needs root, docker-registry, podman and buildah",
    ),
]
_SECONDS = 60


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with RegistryServer(str(tmp_path_factory.mktemp("registry"))) as server:
        yield server


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Two hundred files that do not compress, a folder of its own mode, a symlink."""
    root, numbers = tmp_path / "engines/root", random.Random(1)
    for number in range(200):
        path = root / f"opt/engines/{number % 5}/file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(4000))
    (root / "opt/engines/link").symlink_to("0/file0")
    (root / "opt/engines/program").write_text("#!/bin/sh\n")
    (root / "opt/engines/program").chmod(0o755)
    return tmp_path / "engines"


def tree(root: Path) -> dict[str, tuple[int, str | bytes]]:
    """Modes and contents by path."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for path in sorted(root.rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (path.lstat().st_mode & 0o7777, content)
    return found


def do(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def engine_folder() -> Iterator[Path]:
    """A short path: podman wants one."""
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def podman(engine_folder: Path) -> list[str]:
    return ["podman", "--storage-driver=vfs", f"--root={engine_folder}/podman", f"--runroot={engine_folder}/run"]


@pytest.mark.parametrize("compression", ["zstd:chunked", "zstd", "gzip"])
def test_podman_has_the_files_that_ashore_built(
    compression: str, registry: RegistryServer, bundle: Path, podman: list[str]
) -> None:
    name = f"{registry.host}/engines/ours:{compression.replace(':', '-')}"
    assert run(["build", str(bundle), "-t", name, "--push", "--compression", compression]) == 0
    do(*podman, "pull", "-q", "--tls-verify=false", name)
    mounted = Path(do(*podman, "image", "mount", name))
    try:
        assert tree(mounted / "ashore/root") == tree(bundle / "root")
    finally:
        do(*podman, "image", "unmount", name)


def test_docker_has_the_files_that_ashore_built_for_it(
    registry: RegistryServer, bundle: Path, tmp_path: Path, engine_folder: Path
) -> None:
    name = f"{registry.host}/engines/docker:1"
    assert run(["build", str(bundle), "-t", name, "--push", "--compression", "gzip"]) == 0
    with Docker(engine_folder / "docker") as docker:
        docker("pull", "-q", name)
        docker("create", "--name", "ours", name, "/none")
        (tmp_path / "out").mkdir()
        docker("cp", "-a", "ours:/ashore/root/.", str(tmp_path / "out"))
    assert tree(tmp_path / "out") == tree(bundle / "root")


def test_of_what_podman_pushed_in_chunks_only_the_change_is_fetched(
    registry: RegistryServer, bundle: Path, tmp_path: Path, podman: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY root/ /ashore/root/\n")
    names = [f"{registry.host}/engines/theirs:{version}" for version in (1, 2)]
    for version, name in enumerate(names):
        (bundle / "root/opt/engines/0/file0").write_text(f"version {version}\n")
        do(*podman, "build", "-q", "-f", str(tmp_path / "Dockerfile"), "-t", name, str(bundle))
        do(*podman, "push", "-q", "--tls-verify=false", "--compression-format", "zstd:chunked", name)
    host = tmp_path / "host"
    (host / "var/lib").mkdir(parents=True)
    log = Path(registry.log)
    assert run(["install", names[0], "--root", str(host)]) == 0
    before = len(log.read_bytes())
    assert run(["install", names[1], "--root", str(host)]) == 0
    answers = [line.split('"')[2].split() for line in log.read_text()[before:].splitlines() if "/blobs/" in line]
    parts = [int(size) for status, size in answers if status == "206"]
    assert len(parts) == 2, "the table of contents and one file"
    assert sum(parts) < 100_000
    assert tree(host / "opt") == tree(bundle / "root/opt")


class Docker:
    """A dockerd with everything of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._socket = folder, f"unix://{folder}/s"

    def __call__(self, *argv: str) -> str:
        return do("docker", "-H", self._socket, *argv)

    def __enter__(self) -> "Docker":
        own = [f"--{name}={self._folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        with (self._folder / "log").open("wb") as log:
            command = ["dockerd", "-H", self._socket, "--bridge=none", "--iptables=false", *own]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS
        while subprocess.run(["docker", "-H", self._socket, "info"], capture_output=True).returncode:
            assert time.monotonic() < deadline and self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_SECONDS)
        subprocess.run(["umount", "-l", f"{self._folder}/data-root"], capture_output=True)
