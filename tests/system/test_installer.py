# SPDX-License-Identifier: Apache-2.0
"""An installer image on a booted host without Python: the entry point in a root of its own, the host at /rootfs.

The engine is left out, its part is done by hand: the image's layers unpacked, a mount namespace, the mounts that
``--volume /:/rootfs`` makes, and no other root in sight. What follows is the real thing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system import lab
from tests.system.conftest import require_real
from tests.system.own_build import own_build, without_python
from tests.system.snapshot import differences

pytestmark = [pytest.mark.real, pytest.mark.slow]

ASHORE = str(Path(sys.executable).parent / "ashore")
REFERENCE = "registry.example/k8s/worker:1"
MEGABYTE = 1_000_000
# What an engine does: the image as the root, the host below it, and processes of the host only with --pid=host.
CONTAINER = """\
set -e
mount --make-rprivate /
mkdir -p /run/image
mount --bind /srv/image /run/image
[ "$1" = no-rootfs ] || mount --rbind / /run/image/rootfs
mount -t proc proc /run/image/proc
[ "$1" != noexec ] || mount -t tmpfs -o noexec none /run/image/rootfs/opt
[ "$1" != read-only ] || mount -t tmpfs -o ro none /run/image/rootfs/opt
[ "$1" != no-systemd ] || mount -t tmpfs none /run/image/rootfs/run/systemd
[ "$1" != no-bus ] || mount -t tmpfs none /run/image/rootfs/run/dbus
shift
exec chroot /run/image "$@"
"""


def bundle(folder: Path, version: str, body: str = "exec sleep infinity") -> Path:
    """A worker with one service."""
    top = folder / f"worker-{version}"
    for name in ("root/opt/bin", "root/etc/systemd/system", "root/etc/app"):
        (top / name).mkdir(parents=True)
    (top / "bundle.toml").write_text(f'name = "worker"\nversion = "{version}"\n')
    (top / "root/opt/bin/app").write_text(f"#!/bin/sh\n{body}\n")
    (top / "root/opt/bin/app").chmod(0o755)
    (top / "root/etc/app/app.conf.j2").write_text("{{ facts.hostname }} {{ facts.network.interfaces.eth0.ipv4 }}\n")
    (top / "root/etc/systemd/system/app.service").write_text(
        "[Unit]\nDescription=The worker\n[Service]\nExecStart=/opt/bin/app\n[Install]\nWantedBy=multi-user.target\n"
    )
    return top


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs/sha256" / digest.partition(":")[2]


def read(layout: Path, digest: str) -> Any:
    return json.loads(blob(layout, digest).read_bytes())


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installer image of version 1."""
    require_real()
    folder = tmp_path_factory.mktemp("installer")
    target = folder / "out"
    subprocess.run(
        [ASHORE, "build", bundle(folder, "1"), "--installer", "--self-contained", own_build(), "-o", f"oci:{target}"],
        check=True,
    )
    return target


def manifests(layout: Path) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    """What engines run, what hosts take, and the latter's digest."""
    first = json.loads((layout / "index.json").read_text())["manifests"][0]
    top = read(layout, first["digest"])
    runs, carried = top["manifests"]
    assert runs["platform"]["os"] == "linux"
    marks = {"io.ashore.role": "bundle", "io.github.containers.compression.zstd": "true"}
    assert carried["annotations"] == marks
    return read(layout, runs["digest"]), read(layout, carried["digest"]), carried["digest"]


def unpack(host: lab.Host, layout: Path) -> None:
    """What an engine does with the layers."""
    subprocess.run(["rm", "-rf", host.path / "srv/image/ashore"], check=True)
    for descriptor in manifests(layout)[0]["layers"]:
        subprocess.run(["tar", "-xzf", blob(layout, descriptor["digest"]), "-C", host.path / "srv/image"], check=True)


@pytest.fixture
def host(layout: Path, fresh_host: lab.Host) -> lab.Host:
    """A host without Python, on which an engine has unpacked the image."""
    without_python(fresh_host)
    image = fresh_host.path / "srv/image"
    for mountpoint in ("rootfs", "proc"):
        (image / mountpoint).mkdir(parents=True)
    unpack(fresh_host, layout)
    return fresh_host


def run_image(
    host: lab.Host, *arguments: str, mounts: str = "all", own_pids: bool = False
) -> "subprocess.CompletedProcess[str]":
    """`docker run --privileged ... IMAGE arguments`, by hand."""
    spaces = ["--mount", *(["--pid", "--fork"] if own_pids else [])]
    entry = ["/ashore/bin/ashore", "hand-over", "--reference", REFERENCE, *arguments]
    return host.run(["unshare", *spaces, "sh", "-c", CONTAINER, "sh", mounts, *entry], check=False, seconds=120)


def test_the_image_is_small_and_any_engine_reads_it(layout: Path) -> None:
    runs, carried, _ = manifests(layout)
    assert {each["mediaType"] for each in runs["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    bundle_itself = sum(each["size"] for each in carried["layers"])
    above = sum(each["size"] for each in runs["layers"]) - bundle_itself
    print(f"an installer image is {above / MEGABYTE:.1f} MB above the bundle")
    assert 0 < above < 45 * MEGABYTE


def test_skopeo_takes_the_part_for_engines(layout: Path, tmp_path: Path) -> None:
    if subprocess.run(["which", "skopeo"], capture_output=True).returncode:
        pytest.skip("skopeo is missing")
    archive = tmp_path / "image.tar"
    subprocess.run(["skopeo", "copy", "--quiet", f"oci:{layout}", f"docker-archive:{archive}:worker:1"], check=True)
    listing = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, check=True).stdout
    config = subprocess.run(
        ["tar", "-xOf", archive, json.loads(listing)[0]["Config"]], capture_output=True, check=True
    ).stdout
    assert json.loads(config)["config"]["Entrypoint"] == ["/ashore/bin/ashore", "hand-over"]


def test_a_host_without_python_gets_the_bundle_and_ashore(host: lab.Host, layout: Path) -> None:
    done = run_image(host)
    assert done.returncode == 0, done.stderr
    assert "generation 1" in done.stdout
    assert host.show("app.service", "ActiveState") == "active"
    assert (host.path / "etc/app/app.conf").read_text() == "fresh 10.77.0.2\n"
    status = json.loads(host.run(["/opt/bin/ashore", "status", "--json"]).stdout)
    digest = manifests(layout)[2]
    assert digest in json.dumps(status), "the digest that is recorded is the bundle image's"
    assert REFERENCE in json.dumps(status)
    assert not list((host.path / "var/lib/ashore").glob("incoming"))
    assert host.run(["systemctl", "is-enabled", "ashore-recover.service"]).stdout.strip() == "enabled"
    again = run_image(host)
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_came_goes_again_and_at_last_ashore_itself(host: lab.Host, options: tuple[str, ...]) -> None:
    before = host.snapshot()
    assert run_image(host).returncode == 0
    host.run(["/opt/bin/ashore", "remove", "worker"])
    assert "+ opt/bin/ashore" in differences(before, host.snapshot()), "status and history still answer"
    assert run_image(host).returncode == 0
    done = host.run(["/opt/bin/ashore", "remove", "worker", "--purge", *options], check=False)
    assert (done.returncode, "ashore itself is gone" in done.stderr) == (0, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not options or json.loads(done.stdout)["bundles"] == []
    assert differences(before, host.snapshot()) == []
    assert not any(os.path.lexists(host.path / path) for path in ("var/lib/ashore", *lab.RECOVERY))
    listed = host.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "app*", "ashore-*"]).stdout
    assert listed == ""


@pytest.mark.parametrize(
    ("mounts", "own_pids", "said"),
    [
        ("no-rootfs", False, "add -v /:/rootfs"),
        ("all", True, "add --pid=host"),
        ("noexec", False, "mounted noexec"),
        ("read-only", False, "read-only"),
        ("no-systemd", False, "must be booted with systemd"),
        ("no-bus", False, "start dbus on the host"),
    ],
)
def test_what_is_missing_is_said_and_the_host_untouched(host: lab.Host, mounts: str, own_pids: bool, said: str) -> None:
    before = host.snapshot()
    done = run_image(host, mounts=mounts, own_pids=own_pids)
    assert (done.returncode, said in done.stderr) == (7, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert differences(before, host.snapshot()) == []


def test_a_change_that_is_at_work_is_not_disturbed_and_a_boot_follows_it(host: lab.Host) -> None:
    host.run(["systemd-run", "--quiet", "--unit=ashore-settle", "--service-type=exec", "sleep", "60"])
    busy = run_image(host)
    assert (busy.returncode, "another ashore is at work" in busy.stderr) == (9, True), busy.stderr
    followed = run_image(host, "--boot")
    assert (followed.returncode, "at work already" in followed.stderr) == (0, True), followed.stderr
    assert not (host.path / "opt/bin/app").exists()


def test_another_program_of_its_name_is_left_alone(host: lab.Host) -> None:
    host.write("opt/bin/ashore", "mine\n", 0o755)
    done = run_image(host)
    assert (done.returncode, "is not ashore's" in done.stderr) == (7, True), done.stderr
    assert (host.path / "opt/bin/ashore").read_text() == "mine\n"


def test_a_damaged_image_is_refused_before_the_link_moves(host: lab.Host) -> None:
    (host.path / "srv/image/ashore/bin/lib/libssl.so.3").write_bytes(b"bad")
    before = host.snapshot()
    done = run_image(host)
    assert done.returncode != 0
    assert differences(before, host.snapshot()) == []


def test_units_that_fail_make_it_fail_and_everything_goes_back(host: lab.Host, tmp_path: Path) -> None:
    assert run_image(host).returncode == 0
    target = tmp_path / "out"
    top = bundle(tmp_path, "2", "exit 3")
    subprocess.run(
        [ASHORE, "build", top, "--installer", "--self-contained", own_build(), "-o", f"oci:{target}"], check=True
    )
    unpack(host, target)
    done = run_image(host)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "sleep infinity" in (host.path / "opt/bin/app").read_text()
    assert host.show("app.service", "ActiveState") == "active"
    held = run_image(host, "--boot")
    assert (held.returncode, "is held" in held.stdout) == (0, True), held.stdout + held.stderr
