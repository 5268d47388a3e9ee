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
from tests.system.releases import NEWER, OWN, command

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0 or not (available() and shutil.which("podman") and shutil.which("mmdebstrap")),
        reason="needs root, docker-registry, podman, and mmdebstrap for the engines of a newer Debian",
    ),
]
_SECONDS = 60
_PARTS = """
[storage]
driver = "overlay"
graphroot = "{place}/podman"
runroot = "{place}/run"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false"}}
"""
_READS = {OWN: ("gzip",), NEWER: ("gzip", "zstd", "zstd:chunked")}
"""What a release's docker can unpack."""


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


@pytest.fixture(params=[OWN, NEWER])
def podman(request: pytest.FixtureRequest, engine_folder: Path) -> "Podman":
    return Podman(request.param, engine_folder)


@pytest.mark.parametrize("compression", ["zstd:chunked", "zstd", "gzip"])
def test_podman_has_the_files_that_ashore_built(
    compression: str, registry: RegistryServer, bundle: Path, podman: "Podman"
) -> None:
    name = built(bundle, f"{registry.host}/engines/{podman.release}", compression)
    podman("pull", "-q", "--tls-verify=false", name)
    assert tree(podman.files_of(name)) == tree(bundle / "root")


@pytest.mark.parametrize(("release", "compression"), [(name, kind) for name in _READS for kind in _READS[name]])
def test_docker_has_the_files_that_ashore_built_for_it(
    release: str, compression: str, registry: RegistryServer, bundle: Path, engine_folder: Path
) -> None:
    name = built(bundle, f"{registry.host}/engines/docker-{release}", compression)
    with Docker(release, engine_folder / "docker") as docker:
        docker("pull", "-q", name)
        docker("create", "--name", "ours", name, "/none")
        (engine_folder / "out").mkdir()
        docker("cp", "-a", "ours:/ashore/root/.", str(engine_folder / "out"))
    assert tree(engine_folder / "out") == tree(bundle / "root")


def test_podman_fetches_only_the_change_of_what_ashore_built_in_chunks(
    registry: RegistryServer, bundle: Path, engine_folder: Path
) -> None:
    (engine_folder / "storage.conf").write_text(_PARTS.format(place=engine_folder))
    podman = Podman(NEWER, engine_folder, settings=engine_folder / "storage.conf")
    asked = []
    for version in range(2):
        (bundle / "root/opt/engines/0/file0").write_text(f"version {version}\n")
        name = built(bundle, f"{registry.host}/engines/parts", "zstd:chunked")
        before = len(Path(registry.log).read_bytes())
        podman("pull", "-q", "--tls-verify=false", name)
        asked.append(parts_since(registry, before))
        assert tree(podman.files_of(name)) == tree(bundle / "root")
    first, second = asked
    assert first > 200 * 4000, "all of it, in parts"
    assert second < 100_000


def test_of_what_podman_pushed_in_chunks_only_the_change_is_fetched(
    registry: RegistryServer, bundle: Path, tmp_path: Path, podman: "Podman", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    context = podman.folder / "context"
    shutil.copytree(bundle, context, symlinks=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY root/ /ashore/root/\n")
    names = [f"{registry.host}/engines/theirs-{podman.release}:{version}" for version in (1, 2)]
    for version, name in enumerate(names):
        (context / "root/opt/engines/0/file0").write_text(f"version {version}\n")
        podman("build", "-q", "-f", str(context / "Dockerfile"), "-t", name, str(context))
        podman("push", "-q", "--tls-verify=false", "--compression-format", "zstd:chunked", name)
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
    assert tree(host / "opt") == tree(context / "root/opt")


def built(bundle: Path, name: str, compression: str) -> str:
    """The reference of a bundle in the registry."""
    reference = f"{name}:{compression.replace(':', '-')}"
    assert run(["build", str(bundle), "-t", reference, "--push", "--compression", compression]) == 0
    return reference


def parts_since(registry: RegistryServer, before: int) -> int:
    """The bytes of all blobs and parts of blobs that the registry gave since its log had `before` bytes."""
    lines = Path(registry.log).read_text()[before:].splitlines()
    answers = [line.split('"')[2].split() for line in lines if '"GET ' in line and "/blobs/" in line]
    return sum(int(size) for _, size in answers)


class Podman:
    """A release's podman, with a store of its own below a folder that has a short path."""

    def __init__(self, release: str, folder: Path, settings: Path | None = None) -> None:
        self.release, self.folder = release, folder
        own = ["--storage-driver=vfs", f"--root={folder}/podman", f"--runroot={folder}/run"]
        self._program = [*(["env", f"CONTAINERS_STORAGE_CONF={settings}"] if settings else []), "podman"]
        self._program += [] if settings else own

    def __call__(self, *argv: str) -> str:
        return do(*command(self.release, *self._program, *argv))

    def files_of(self, name: str) -> Path:
        """The files of a pulled image's bundle, copied out."""
        out = self.folder / f"files{len(list(self.folder.glob('files*')))}"
        script = f'cp -a "$("$@" image mount {name})/ashore/root" {out} && "$@" image unmount {name}'
        do(*command(self.release, "sh", "-ec", script, "sh", *self._program))
        return out


class Docker:
    """A release's dockerd with everything of its own."""

    def __init__(self, release: str, folder: Path) -> None:
        folder.mkdir()
        self._release, self._folder, self._socket = release, folder, f"unix://{folder}/s"

    def __call__(self, *argv: str) -> str:
        return do(*command(self._release, "docker", "-H", self._socket, *argv))

    def __enter__(self) -> "Docker":
        own = [f"--{name}={self._folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        with (self._folder / "log").open("wb") as log:
            daemon = command(self._release, "dockerd", "-H", self._socket, "--bridge=none", "--iptables=false", *own)
            self._process = subprocess.Popen(daemon, stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS
        asking = command(self._release, "docker", "-H", self._socket, "info")
        while subprocess.run(asking, capture_output=True).returncode:
            assert time.monotonic() < deadline and self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_SECONDS)
        subprocess.run(["umount", "-l", f"{self._folder}/data-root"], capture_output=True)
