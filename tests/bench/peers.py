# SPDX-License-Identifier: Apache-2.0
"""What somebody would run instead: programs that bring an image's files to a folder, each from nothing."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ground import Ground
from tests.bench.measure import Contender

_DAEMON_SECONDS = 60


@dataclass(frozen=True)
class Published:
    """An image in a registry: `layers` are the digests' hex parts."""

    host: str
    name: str
    tag: str
    layers: tuple[str, ...]

    @property
    def reference(self) -> str:
        return f"{self.host}/{self.name}:{self.tag}"


def absent(*programs: str) -> str:
    """Which of them this machine has not; empty if it has all."""
    return ", ".join(program for program in programs if shutil.which(program) is None)


def skopeo_and_tar(image: Published, ground: Ground) -> Contender:
    """The image as files of a folder, then GNU tar: no store of images, nothing hashed but blobs."""
    store, target = ground.scratch / "image", ground.root
    unpack = " && ".join(f"tar -C {target} -xf {store}/{layer}" for layer in image.layers)
    script = f"skopeo copy -q --src-tls-verify=false docker://{image.reference} dir:{store} && {unpack}"
    return Contender("skopeo copy + GNU tar", ["sh", "-c", script], ground.fresh)


def skopeo_and_umoci(image: Published, ground: Ground) -> Contender:
    """An OCI layout, unpacked by its layers' rules."""
    store, bundle = ground.scratch / "layout", ground.scratch / "bundle"
    script = (
        f"skopeo copy -q --src-tls-verify=false docker://{image.reference} oci:{store}:x"
        f" && umoci raw unpack --image {store}:x {bundle} && cp -a {bundle}/ashore/root/. {ground.root}"
    )
    return Contender("skopeo copy + umoci unpack", ["sh", "-c", script], ground.fresh)


def podman_and_cp(image: Published, ground: Ground) -> Contender:
    """Pulled into podman's store, mounted, copied to the host."""
    podman = f"podman --root {ground.scratch}/storage --runroot {ground.scratch}/run"
    script = (
        f"{podman} pull -q --tls-verify=false {image.reference}"
        f" && at=$({podman} image mount {image.reference}) && cp -a $at/ashore/root/. {ground.root}"
        f" && {podman} image unmount {image.reference}"
    )
    return Contender("podman pull + cp -a", ["sh", "-c", script], ground.fresh)


class Docker:
    """A dockerd of our own, whose store lies on the ground; it begins anew with it."""

    def __init__(self, folder: Path, ground: Ground) -> None:
        self._folder, self._ground = folder, ground
        self._socket = folder / "docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None

    def contender(self, image: Published) -> Contender:
        """`docker pull`, and a container whose files are copied to the host."""
        docker = f"docker -H unix://{self._socket}"
        script = (
            f"{docker} pull -q {image.reference} && {docker} create --name bench {image.reference} /none"
            f" && {docker} cp -a bench:/ashore/root/. {self._ground.root}"
        )
        name = "docker pull + docker cp"
        return Contender(name, ["sh", "-c", script], self._anew, self.stop, elsewhere=self._processor)

    def _processor(self) -> float:
        """Seconds that the daemon and all that it started have used."""
        assert self._daemon is not None
        return sum(_seconds(process) for process in _family(self._daemon.pid))

    def _anew(self) -> None:
        self.stop()
        self._ground.fresh()
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "docker.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [
                    *("dockerd", "-H", f"unix://{self._socket}", "--bridge=none", "--iptables=false"),
                    *("--data-root", str(self._ground.scratch / "docker")),
                    *("--exec-root", str(self._folder / "exec"), "--pidfile", str(self._folder / "docker.pid")),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _DAEMON_SECONDS
        while time.monotonic() < deadline and self._daemon.poll() is None:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self._socket))
                return
            time.sleep(0.05)
        raise RuntimeError(f"dockerd does not come up: see {self._folder}/docker.log")

    def stop(self) -> None:
        """End the daemon that this object started."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(_DAEMON_SECONDS)
            self._daemon = None


def _family(process: int) -> Iterator[int]:
    """A process and its descendants (proc(5))."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    used = sum(int(field) for field in fields[11:15])  # its own, and those of children that ended
    return used / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def peers(image: Published, ground: Ground, folder: Path) -> Iterator[tuple[list[Contender], list[str]]]:
    """The peers that this machine has, and for the others why they are left out."""
    found: list[Contender] = []
    skipped: list[str] = []
    docker = Docker(folder / "docker", ground)
    rootless = "" if os.geteuid() == 0 else "it needs root here"
    ways: list[tuple[str, str, Callable[[], Contender]]] = [
        ("skopeo and tar", absent("skopeo", "tar"), lambda: skopeo_and_tar(image, ground)),
        ("skopeo and umoci", absent("skopeo", "umoci"), lambda: skopeo_and_umoci(image, ground)),
        ("podman", absent("podman") or rootless, lambda: podman_and_cp(image, ground)),
        ("docker", absent("dockerd", "docker") or rootless, lambda: docker.contender(image)),
    ]
    for name, missing, make in ways:
        if missing:
            skipped.append(f"{name}: missing: {missing}")
        else:
            found.append(make())
    try:
        yield found, skipped
    finally:
        docker.stop()
