# SPDX-License-Identifier: Apache-2.0
"""User-data before cloud-init on a real machine, the installer image under a real Docker, and the ways to run it wrong.

One machine, one story: each test goes on where the one before it ended.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.material import API_SERVER, BUNDLE, EXAMPLES
from tests.system.own_build import own_build
from tests.system.snapshot import differences
from tests.vm import disk, node
from tests.vm.machine import Machine
from tests.vm.registry import Registry, registry

pytestmark = [pytest.mark.real, pytest.mark.slow]

REPOSITORY = "k8s/worker:1"
PROXY = "root/etc/systemd/system/kube-proxy.service"
RUN = "docker run --rm {options} {image} --reference {image}"
ALL = "--privileged --pid=host --network=host -v /:/rootfs"


class Story:
    """The machine, its registry, and the bundle in its versions."""

    def __init__(self, images: Registry, folder: Path) -> None:
        self.images, self.folder = images, folder
        self.name = images.name(REPOSITORY)
        self.bundle = folder / "worker"
        shutil.copytree(EXAMPLES / "worker", self.bundle)
        subprocess.run([EXAMPLES / "make-tls", self.bundle, folder / "key.pem"], check=True, capture_output=True)
        key = (folder / "key.pem").read_text().strip()
        self.values = folder / "values.toml"
        self.values.write_text(f'api_server = "{API_SERVER}"\nworker_key = """\n{key}"""\n')
        images.push(self.bundle, REPOSITORY)
        options = ["--engine", "docker", "--values", str(self.values), "--registry-ca", str(images.authority)]
        user_data = node.provision("cloud-config", *options, self.name)
        self.at = Machine("cloud", disk.Kind.CLOUD, seed=node.seed(folder, user_data))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A machine that has nothing but a disk with user-data, and was switched on."""
    if reason := disk.missing():
        pytest.skip(f"no machine here: {reason}")
    with registry() as images:
        made = Story(images, tmp_path_factory.mktemp("cloud"))
        try:
            made.at.boot()
            yield made
        finally:
            made.at.remove()


def test_cloud_init_brings_the_unit_and_the_unit_the_bundle(story: Story) -> None:
    node.wait(story.at, "[ -e /var/lib/cloud/instance/boot-finished ]", "through with cloud-init", every=3)
    said = node.settled(story.at)
    assert "generation 1" in said
    assert story.at.sh("cloud-init status").stdout == "status: done\n"
    status = story.at.ashore("status").stdout
    assert f"{BUNDLE} 1.0.0  {story.name}" in status
    assert status.count("active (running)") == 2
    proxy = story.at.sh(f"cat /{PROXY.removeprefix('root/')}").stdout
    assert "--hostname-override=10.0.2.15" in proxy
    assert "--bind-address=10.0.3.15" in proxy
    assert story.at.sh("stat -c %a /etc/ashore/values.d/50-provision.toml").stdout == "600\n"


def test_it_needs_nothing_of_the_python_that_cloud_init_has(story: Story) -> None:
    story.at.sh("rm -rf /usr/lib/python3* /usr/bin/python3*")
    assert BUNDLE in story.at.ashore("status").stdout
    assert "nothing to do" in story.at.sh(RUN.format(options=ALL, image=story.name)).stdout


def test_what_an_upgrade_brought_is_not_undone_by_the_image_that_docker_still_has(story: Story) -> None:
    unit = story.bundle / PROXY
    unit.write_text(unit.read_text().replace("RestartSec=5", "RestartSec=4"))
    story.images.push(story.bundle, REPOSITORY)
    assert "generation 2: 0 added, 1 changed" in story.at.ashore("upgrade").stdout
    story.images.stop()
    story.at.sh("systemctl restart ashore-boot.service")
    said = node.settled(story.at)
    story.images.start()
    assert "generation 2 stays" in said
    assert "RestartSec=4" in story.at.sh(f"cat /{PROXY.removeprefix('root/')}").stdout


def test_device_rules_and_kernel_modules_are_files_of_a_bundle(story: Story) -> None:
    """What a container on the test machine cannot have: a udevd with devices, and a kernel of its own."""
    files = {
        "etc/udev/rules.d/90-lab.rules": 'KERNEL=="vda", SYMLINK+="lab-disk"\n',
        "etc/modules-load.d/lab.conf": "dummy\n",
    }
    for path, text in files.items():
        target = story.folder / "hardware/root" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    story.images.push(story.folder / "hardware", "k8s/hardware:1")
    image = story.images.name("k8s/hardware:1")
    planned = story.at.ashore("plan", image).stdout
    assert "modules after files are placed: etc/modules-load.d/lab.conf is new  [not reversible]" in planned
    assert "udev after files are placed: etc/udev/rules.d/90-lab.rules is new  [derived]" in planned
    assert story.at.sh("[ -e /dev/lab-disk ] || [ -e /sys/module/dummy ]", check=False).returncode == 1, (
        "a plan does none"
    )
    story.at.ashore("install", image)
    assert story.at.sh("readlink -f /dev/lab-disk; ls -d /sys/module/dummy").stdout == "/dev/vda\n/sys/module/dummy\n"
    story.at.ashore("remove", "hardware")
    assert story.at.sh("[ -e /dev/lab-disk ]", check=False).returncode == 1, "the device has its old names again"


WRONG = (
    ("--privileged --net=host --ipc=host --uts=host -v /:/rootfs -v /dev:/dev -v /run:/run", "add --pid=host"),
    ("--privileged --pid=host", "add -v /:/rootfs"),
    ("--pid=host -v /:/rootfs", "add --privileged"),
    (f"{ALL} --user 65534:65534", "leave out --user"),
    (ALL.replace("-v /:/rootfs", "-v /:/rootfs:ro"), "read-only"),
    (f"{ALL} --mount type=tmpfs,destination=/rootfs/opt", "noexec"),
)


def test_a_wrong_way_to_run_it_says_what_to_add_and_leaves_the_host_alone(story: Story) -> None:
    before = story.at.snapshot()
    for options, said in WRONG:
        done = story.at.sh(RUN.format(options=options, image=story.name), check=False)
        assert (done.returncode, said in done.stderr) == (7, True), f"{options}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    assert differences(before, story.at.snapshot()) == []


def started(story: Story, image: str, path: str = "") -> tuple[str, str]:
    """Start a boot unit for another image, once: its exit code, and what it said."""
    text = node.provision("unit", "--engine", "docker", "--pull", "always", image).replace("Restart=on-failure\n", "")
    text = text.replace("[Service]\n", f"[Service]\nEnvironment=PATH={path}\n" if path else "[Service]\n")
    # No bundle's unit waits for this one, and nothing has to be followed.
    story.at.sh(f"cat >/run/systemd/system/other.service <<'END'\n{text}END\nsystemctl daemon-reload")
    story.at.sh("systemctl start other.service", check=False)
    said = story.at.journal("other.service")
    code = story.at.show("other.service", "ExecMainStatus")
    story.at.sh("systemctl reset-failed other.service; rm /run/systemd/system/other.service; systemctl daemon-reload")
    return code, said


def test_an_image_for_another_processor(story: Story) -> None:
    build = story.folder / "arm64"
    shutil.copytree(own_build(), build, symlinks=True)
    program = bytearray((build / "ashore").read_bytes())
    program[18:20] = b"\xb7\x00"  # e_machine: AArch64
    (build / "ashore").write_bytes(program)
    story.images.push(story.bundle, "k8s/arm64:1", "--self-contained", str(build))
    code, said = started(story, story.images.name("k8s/arm64:1"))
    assert code == "4", said
    assert "no matching manifest for linux/amd64" in said
    assert "is not here, and docker cannot pull it" in said


def test_a_host_without_an_engine(story: Story) -> None:
    code, said = started(story, story.images.name("k8s/other:1"), path="/opt/none")
    assert (code, "there is no docker on this host" in said) == ("127", True), said
