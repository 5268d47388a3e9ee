# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes node from an installer image: a machine with Docker and no Python, and a control plane elsewhere.

One machine, one story: each test goes on where the one before it ended. Those marked long can be left out.
"""

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import kubernetes
from tests.system.snapshot import differences
from tests.vm import disk, node
from tests.vm.machine import Given, Machine
from tests.vm.registry import Registry, registry

pytestmark = [pytest.mark.real, pytest.mark.slow]

REPOSITORY = "k8s/worker:1"
BUNDLE = "kubernetes-worker"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: pause}
spec:
  hostNetwork: true
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers: [{name: pause, image: "k8s.gcr.io/pause:3.2", imagePullPolicy: Never}]
"""
# Kubernetes 1.20 drives Docker by itself, in control groups of version 1.
RUNTIME = (
    'container_runtime_endpoint = "unix:///var/run/dockershim.sock"\n'
    'cgroup_driver = "cgroupfs"\nkubelet_args = ["--container-runtime=docker"]'
)
IMPORT = "docker import -c 'ENTRYPOINT [\"/pause\"]' /srv/pause.tar k8s.gcr.io/pause:3.2"
PROXY = "root/etc/systemd/system/kube-proxy.service.j2"
KUBELET = "root/etc/systemd/system/kubelet.service.j2"


class Story:
    """The machine, its cluster, its registry, and the bundle in its versions."""

    def __init__(self, at: Machine, cluster: kubernetes.Cluster, images: Registry) -> None:
        self.at, self.cluster, self.images = at, cluster, images
        self.name = images.name(REPOSITORY)
        self.versions = 0

    def push(self, folder: Path, file: str = "", old: str = "", new: str = "") -> None:
        """Let the tag name another version: the bundle of the examples with one text replaced."""
        self.versions += 1
        bundle = folder / f"worker-{self.versions}"
        shutil.copytree(kubernetes.EXAMPLES / "worker", bundle)
        if file:
            text = (bundle / file).read_text()
            assert old in text
            (bundle / file).write_text(text.replace(old, new))
        self.images.push(bundle, REPOSITORY, "--folder", f"kubernetes={kubernetes.programs()}")

    def ready(self) -> None:
        """Wait until the node is ready by a heartbeat of this boot, and its pod runs."""
        boot = self.at.sh("cat /proc/sys/kernel/random/boot_id").stdout.strip()

        def holds() -> bool:
            seen = self.cluster.get("node", "node")
            if seen.get("status", {}).get("nodeInfo", {}).get("bootID") != boot or not self.cluster.ready("node"):
                return False
            pod = self.cluster.get("pod", "pause")
            return bool(pod) and pod["status"]["phase"] == "Running"

        self.cluster.until(holds, f"node ready, pod running\n{node.settled(self.at)}", node.SECONDS)

    def version(self) -> str:
        """What is installed, as `status` says it."""
        return self.at.ashore("status").stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes.Cluster]:
    """A control plane that ashore installed on a booted host, reachable from machines."""
    if reason := kubernetes.absent() or disk.missing():
        pytest.skip(f"NO KUBERNETES NODE IS TESTED: {reason}")
    if not (kubernetes.programs() / "pause").exists():
        pytest.skip(f"NO KUBERNETES NODE IS TESTED: {kubernetes.programs()} has no pause")
    with kubernetes.control_plane(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def story(cluster: kubernetes.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A machine that has the boot unit and its values, and has been switched on."""
    folder = tmp_path_factory.mktemp("node")
    with registry() as images:
        values = cluster.worker_values(cluster.url_for_vms, RUNTIME)
        given = {
            **node.files(images, images.name(REPOSITORY), values, "--engine", "docker", "--pull", "always"),
            **node.prepared(IMPORT),
            "srv/pause.tar": Given(_archive_of_pause()),
        }
        at = Machine("node", disk.Kind.PLAIN)
        try:
            made = Story(at, cluster, images)
            made.push(folder)
            cluster.until(lambda: bool(cluster.get("serviceaccount", "default")), "an account for pods")
            cluster.kubectl("apply", "-f", "-", stdin=POD)
            at.boot(given)
            yield made
        finally:
            at.remove()


def _archive_of_pause() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(kubernetes.programs() / "pause", "pause")
    return made.getvalue()


def test_it_boots_joins_and_runs_a_pod(story: Story) -> None:
    said = node.settled(story.at)
    assert "generation 1" in said
    assert story.at.sh("command -v python3", check=False).returncode != 0
    story.ready()
    assert story.at.sh("docker ps --format '{{.Image}}' | sort | uniq").stdout.count("pause") >= 1
    options = story.at.sh("cat /etc/flannel/options.env").stdout
    assert "10.0.2.15" in options, "templates know this machine's addresses"
    assert "--bind-address=10.0.3.15" in story.at.sh("cat /etc/systemd/system/kube-proxy.service").stdout


def test_an_upgrade_of_one_flag_restarts_the_proxy_alone(story: Story, tmp_path: Path) -> None:
    kubelet, proxy = node.pids(story.at, "kubelet", "kube-proxy")
    story.push(tmp_path, PROXY, "--healthz-bind-address=127.0.0.1:10256", "--healthz-bind-address=127.0.0.1:10257")
    done = story.at.ashore("upgrade", BUNDLE)
    assert "generation 2: 0 added, 1 changed, 0 removed; 1 unit action" in done.stdout
    now = node.pids(story.at, "kubelet", "kube-proxy")
    assert (now[0], kubelet) == (kubelet, now[0])
    assert now[1] not in (0, proxy)
    assert "10257" in story.at.sh(f"tr '\\0' ' ' </proc/{now[1]}/cmdline").stdout


def test_power_is_cut_in_an_upgrade_and_the_registry_is_down_and_it_comes_back(story: Story, tmp_path: Path) -> None:
    story.push(tmp_path, KUBELET, "--node-ip=", "--v=1 \\\n    --node-ip=")
    story.at.sh(f"systemd-run --quiet /opt/bin/ashore upgrade {BUNDLE}")
    node.wait(story.at, "[ -e /var/lib/ashore/journal/2-staged.json ]", "staged")
    story.at.power_cut()
    story.images.stop()
    story.at.boot()
    said = node.settled(story.at)
    story.images.start()
    assert "what is installed stays" in said or "generation 2 stays" in said
    assert story.at.sh("grep -c -- --v=1 /etc/systemd/system/kubelet.service", check=False).stdout == "0\n"
    assert story.at.sh("ls /var/lib/ashore/journal", check=False).returncode != 0
    assert story.version().startswith("generation 2 ")
    story.ready()


@pytest.mark.long
def test_at_the_next_boot_the_newest_is_installed_before_its_units_start(story: Story, tmp_path: Path) -> None:
    story.push(tmp_path, PROXY, "--healthz-bind-address=127.0.0.1:10256", "--healthz-bind-address=127.0.0.1:10258")
    story.at.reboot()
    said = node.settled(story.at)
    assert "generation 3: 0 added, 1 changed, 0 removed" in said, said
    story.ready()
    (proxy,) = node.pids(story.at, "kube-proxy")
    assert "10258" in story.at.sh(f"tr '\\0' ' ' </proc/{proxy}/cmdline").stdout
    assert story.at.journal("kube-proxy.service").count("Started kube-proxy.service") == 1, (
        "it never ran with the old flag"
    )
    assert story.at.journal("kubelet.service").count("Started kubelet.service") == 1


@pytest.mark.long
def test_a_flag_that_the_kubelet_does_not_know_goes_back_and_does_not_come_again(story: Story, tmp_path: Path) -> None:
    version = story.version().split()[1]
    story.push(tmp_path, KUBELET, "--node-ip=", "--no-such-flag \\\n    --node-ip=")
    story.at.reboot()
    said = node.settled(story.at)
    assert "units did not come up" in said, said
    story.ready()
    assert "--no-such-flag" not in story.at.sh("cat /etc/systemd/system/kubelet.service").stdout
    assert f"generation {version} " in story.version()
    story.at.reboot()
    assert "is held" in node.settled(story.at)
    story.ready()


@pytest.mark.long
def test_docker_restarts_in_the_middle_of_a_change_and_nothing_is_to_be_seen_of_it(
    story: Story, tmp_path: Path
) -> None:
    version = int(story.version().split()[1])
    story.push(tmp_path, PROXY, "--healthz-bind-address=127.0.0.1:10256", "--healthz-bind-address=127.0.0.1:10259")
    story.at.sh("systemctl restart --no-block ashore-boot.service")
    node.wait(story.at, '[ "$(systemctl show --value -p SubState ashore-settle)" = start ]', "at work")
    story.at.sh("systemctl restart docker.service")
    said = node.settled(story.at)
    assert story.at.show("ashore-boot.service", "Result") == "success", said
    assert f"generation {version + 1} " in story.version(), said
    (proxy,) = node.pids(story.at, "kube-proxy")
    assert "10259" in story.at.sh(f"tr '\\0' ' ' </proc/{proxy}/cmdline").stdout
    story.ready()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [1, 4, 8, 12])
def test_power_is_cut_at_some_moment_of_an_upgrade(story: Story, tmp_path: Path, seconds: int) -> None:
    flag = f"--v={seconds % 3}"
    before = story.at.sh("cat /etc/systemd/system/kubelet.service").stdout
    story.push(tmp_path, KUBELET, "--node-ip=", f"{flag} \\\n    --node-ip=")
    story.at.sh(f"systemd-run --quiet /opt/bin/ashore upgrade {BUNDLE}; sleep {seconds}", seconds=100)
    story.at.power_cut()
    story.images.stop()
    story.at.boot()
    node.settled(story.at)
    story.images.start()
    after = story.at.sh("cat /etc/systemd/system/kubelet.service").stdout
    assert after == before or flag in after
    assert story.at.ashore("diff", "--exit-code", check=False).returncode == 0
    story.ready()


def test_removal_gives_back_every_path(story: Story) -> None:
    done = story.at.ashore("remove", BUNDLE, "--purge", "--yes")
    assert "ashore itself is gone" in done.stderr
    assert differences(node.before(story.at), story.at.snapshot()) == []
    # The provider's unit is still there, and names what it comes after: that is not found any more.
    listed = story.at.sh("systemctl list-units --all --plain --no-legend 'kube*' 'ashore-recover*'").stdout
    assert [line for line in listed.splitlines() if " not-found " not in line] == []
