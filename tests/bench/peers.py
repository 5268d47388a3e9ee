# SPDX-License-Identifier: Apache-2.0
"""What somebody would run instead: programs that bring an image's files to a folder, new or with a version before."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ground import Ground
from tests.bench.measure import Contender, FailedError

_DAEMON_SECONDS = 60
_BUSYBOX = "/bin/busybox"
_PARTS = """
[storage]
driver = "overlay"
graphroot = "{place}/storage"
runroot = "{place}/run"
[storage.options]
pull_options = {{enable_partial_images = "true"}}
"""


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
    return _shell(f"skopeo copy + GNU tar, {image.tag}", script, ground)


def skopeo_and_umoci(image: Published, ground: Ground) -> Contender:
    """An OCI layout, unpacked by its layers' rules, and copied to the host."""
    store, bundle = ground.scratch / "layout", ground.scratch / "bundle"
    script = (
        f"skopeo copy -q --src-tls-verify=false docker://{image.reference} oci:{store}:x"
        f" && umoci raw unpack --image {store}:x {bundle} && cp -a {bundle}/ashore/root/. {ground.root}"
    )
    return _shell(f"skopeo copy + umoci unpack + cp -a, {image.tag}", script, ground)


def podman_and_cp(image: Published, ground: Ground) -> Contender:
    """Pulled into podman's store, mounted, copied to the host."""
    return _shell(f"podman pull + cp -a, {image.tag}", _podman(ground, image, "cp -a"), ground)


def podman_parts(folder: Path, before: Published, image: Published, ground: Ground) -> Contender:
    """Podman's own update: what changed is pulled, by the layer's table of contents, and rsync brings it over."""
    settings = folder / "storage.conf"
    settings.write_text(_PARTS.format(place=ground.scratch))
    env = {"CONTAINERS_STORAGE_CONF": str(settings)}

    def prepare() -> None:
        ground.fresh()
        _first(_podman(ground, before, "rsync -a"), env)

    command = ["sh", "-c", _podman(ground, image, "rsync -a")]
    return Contender("podman partial pull + rsync", command, prepare, env=env)


def _podman(ground: Ground, image: Published, copy: str) -> str:
    podman = f"podman --root {ground.scratch}/storage --runroot {ground.scratch}/run"
    return (
        f"{podman} pull -q --tls-verify=false {image.reference}"
        f" && at=$({podman} image mount {image.reference}) && {copy} $at/ashore/root/. {ground.root}"
        f" && {podman} image unmount {image.reference}"
    )


def _first(script: str, env: Mapping[str, str]) -> None:
    """Bring the version before there."""
    done = subprocess.run(["sh", "-c", script], env=os.environ | env, capture_output=True, text=True)
    if done.returncode:
        raise FailedError(f"the version before: {done.stderr[-300:]}")


def _shell(name: str, script: str, ground: Ground) -> Contender:
    return Contender(name, ["sh", "-c", script], ground.fresh, disk=ground.disk)


class Docker:
    """A dockerd of our own, whose store lies on the ground; it begins anew with it."""

    def __init__(self, folder: Path, ground: Ground) -> None:
        self._folder, self._ground = folder, ground
        self._socket = folder / "docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None

    def contender(self, image: Published) -> Contender:
        """`docker pull`, and a container of the image that copies itself to the host's root, which it has mounted."""
        return Contender(
            f"docker pull + docker run installer, {image.tag}",
            ["sh", "-c", self._installer(image)],
            self._anew,
            self.stop,
            elsewhere=self._processor,
            disk=self._ground.disk,
        )

    def update(self, before: Published, image: Published) -> Contender:
        """The same, on a host that has the version before."""

        def prepare() -> None:
            self._anew()
            _first(self._installer(before), {})

        name, command = "docker pull + docker run installer", ["sh", "-c", self._installer(image)]
        return Contender(name, command, prepare, self.stop, elsewhere=self._processor)

    def _installer(self, image: Published) -> str:
        # The image has no program to copy with: the machine's is lent to it, so that all contenders have one image.
        docker = f"docker -H unix://{self._socket}"
        mounts = f"-v {self._ground.root}:/host -v {_BUSYBOX}:/busybox:ro"
        copy = "/busybox cp -af /ashore/root/. /host/"
        run = f"{docker} run --rm --network none {mounts} {image.reference} {copy}"
        return f"{docker} pull -q {image.reference} && {run}"

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
    docker = Docker(folder / "docker", ground)
    rootless = "" if os.geteuid() == 0 else "it needs root here"
    ways: list[tuple[str, str, Callable[[], Contender]]] = [
        ("skopeo and tar", absent("skopeo", "tar"), lambda: skopeo_and_tar(image, ground)),
        ("skopeo and umoci", absent("skopeo", "umoci"), lambda: skopeo_and_umoci(image, ground)),
        ("podman", absent("podman") or rootless, lambda: podman_and_cp(image, ground)),
        ("docker", absent("dockerd", "docker", _BUSYBOX) or rootless, lambda: docker.contender(image)),
    ]
    yield from _present(ways, docker)


@contextlib.contextmanager
def updaters(
    before: tuple[Published, Published], image: tuple[Published, Published], ground: Ground, folder: Path
) -> Iterator[tuple[list[Contender], list[str]]]:
    """The same for an update; each pair is an image with a table of contents, and the one in gzip that docker reads."""
    docker = Docker(folder / "docker", ground)
    rootless = "" if os.geteuid() == 0 else "it needs root here"
    ways: list[tuple[str, str, Callable[[], Contender]]] = [
        (
            "podman and rsync",
            absent("podman", "rsync") or rootless,
            lambda: podman_parts(folder, before[0], image[0], ground),
        ),
        (
            "docker",
            absent("dockerd", "docker", _BUSYBOX) or rootless,
            lambda: docker.update(before[1], image[1]),
        ),
    ]
    yield from _present(ways, docker)


def _present(
    ways: list[tuple[str, str, Callable[[], Contender]]], docker: Docker
) -> Iterator[tuple[list[Contender], list[str]]]:
    skipped = [f"{name}: missing: {missing}" for name, missing, _ in ways if missing]
    try:
        yield [make() for _, missing, make in ways if not missing], skipped
    finally:
        docker.stop()
