# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes bundles of the examples with the real programs: a control plane on one host, a node on another."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import kubernetes, kubernetes_node, lab

pytestmark = [pytest.mark.real, pytest.mark.slow]

NODE = "node-1"
UNITS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubernetes-setup")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes.Cluster]:
    """A control plane that ashore installed: its health checks have said that all of it answers."""
    if reason := kubernetes.absent():
        pytest.skip(f"NO KUBERNETES IS TESTED: {reason}")
    with kubernetes.control_plane(tmp_path_factory.mktemp("kubernetes")) as made:
        yield made


@pytest.fixture(scope="module")
def node(cluster: kubernetes.Cluster) -> Iterator[lab.Host]:
    """A host with the worker bundle, installed while the control plane was out of reach."""
    if reason := kubernetes_node.absent():
        pytest.skip(f"NO NODE IS TESTED: {reason}")
    with lab.host(NODE, address="10.77.1.2/24") as host:
        kubernetes_node.prepare(host)
        kubernetes.build("worker", f"oci:{host.path}/srv/worker")
        values = cluster.worker_values(cluster.url, f"kubelet_args = {kubernetes_node.KUBELET_ARGS}")
        host.write("etc/ashore/values.d/50-cluster.toml", values, 0o600)
        host.ashore("install", "oci:/srv/worker", seconds=300)
        yield host


def test_a_control_plane_is_up_and_keeps_its_secrets(cluster: kubernetes.Cluster) -> None:
    host = cluster.host
    assert [host.show(f"{unit}.service", "ActiveState") for unit in UNITS] == ["active"] * len(UNITS)
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"
    assert "bootstrap.kubernetes.io/token" in cluster.kubectl("get", "secrets", "--namespace=kube-system")
    secret = (host.path / "etc/kubernetes/pki/ca.key").read_text().splitlines()[1]
    told = ["grep", "-rlF", secret, "/etc", "/var/lib/ashore"]
    assert set(host.run(told, check=False).stdout.split()) == {
        "/etc/ashore/values.d/50-cluster.toml",
        "/etc/kubernetes/pki/ca.key",
    } | set(kept_bases(host, secret))
    closed = host.run(["find", "/etc/kubernetes", "-name", "*.key*", "-perm", "/077"]).stdout
    assert closed == ""


def kept_bases(host: lab.Host, secret: str) -> list[str]:
    """Where the content store has it, closed to others: the version that edits are compared with."""
    found = host.run(["grep", "-rlF", secret, "/var/lib/ashore/content"], check=False).stdout.split()
    assert all(host.run(["stat", "-c", "%a", path]).stdout.strip() == "600" for path in found)
    return found


def test_who_may_join_can_be_said_again(cluster: kubernetes.Cluster) -> None:
    cluster.host.run(["systemctl", "restart", "kubernetes-setup.service"])
    said = cluster.host.run(["journalctl", "--output=cat", "--unit=kubernetes-setup", "--lines=8"]).stdout
    # A Secret's stringData is written, never read: the server takes it as new, and stores the same.
    assert (said.count(" unchanged"), said.count("/bootstrap-token-"), " created" in said) == (5, 1, False), said


def test_a_node_that_boots_before_its_control_plane_joins_when_that_is_there(
    cluster: kubernetes.Cluster, node: lab.Host
) -> None:
    assert cluster.items("nodes") == []
    assert node.show("kubelet.service", "ActiveState") == "active"
    node.forward(cluster.port)
    cluster.until(lambda: cluster.ready(NODE), f"{NODE} ready")
    (request,) = cluster.items("csr")
    assert request["spec"]["username"].startswith("system:bootstrap:")
    assert [each["type"] for each in request["status"]["conditions"]] == ["Approved"]
    key = node.path / "var/lib/kubelet/pki/kubelet-client-current.pem"
    assert node.run(["stat", "--dereference", "--format=%a", f"/{key.relative_to(node.path)}"]).stdout == "600\n"
    assert cluster.get("node", NODE)["spec"]["podCIDR"] == "10.244.0.0/24"


def test_the_node_may_do_what_its_proxy_needs_and_nothing_of_other_nodes(
    cluster: kubernetes.Cluster, node: lab.Host
) -> None:
    allowed = {"list services": "yes", "list endpointslices.discovery.k8s.io": "yes", "list secrets": "no"}
    for question, answer in allowed.items():
        asked = ["auth", "can-i", *question.split(), "--all-namespaces", f"--as=system:node:{NODE}"]
        said = cluster.kubectl(*asked, "--as-group=system:nodes", check=False).strip()
        assert said.partition(" ")[0] == answer, question


def test_a_control_plane_that_has_moved_is_found_again_without_another_certificate(
    cluster: kubernetes.Cluster, node: lab.Host
) -> None:
    moved = cluster.url.replace("127.0.0.1", "localhost")
    key = node.run(["sha256sum", "/var/lib/kubelet/pki/kubelet-client-current.pem"]).stdout
    beat = cluster.heartbeat(NODE)
    node.ashore("upgrade", "--set", f"api_server={moved}", seconds=300)
    assert f"server: {moved}\n" in (node.path / "var/lib/kubelet/kubeconfig").read_text()
    cluster.until(lambda: cluster.heartbeat(NODE) != beat, f"{NODE} heard of again")
    assert cluster.ready(NODE)
    assert node.run(["sha256sum", "/var/lib/kubelet/pki/kubelet-client-current.pem"]).stdout == key
    assert len(cluster.items("csr")) == 1


def test_a_node_joins_with_a_certificate_that_its_user_data_places(
    cluster: kubernetes.Cluster, node: lab.Host, tmp_path: Path
) -> None:
    requests = len(cluster.items("csr"))
    given = certificate(cluster, tmp_path, "node-2")
    node.write("etc/kubernetes/node.crt", given.with_suffix(".crt").read_text())
    node.write("etc/kubernetes/node.key", given.with_suffix(".key").read_text(), 0o600)
    done = node.ashore("upgrade", "--set", "join=files", "--set", "node_name=node-2", seconds=300)
    assert "restart kubelet.service" in done.stderr
    cluster.until(lambda: cluster.ready("node-2"), "node-2 ready")
    assert len(cluster.items("csr")) == requests


def certificate(cluster: kubernetes.Cluster, folder: Path, name: str) -> Path:
    """A node's certificate by the cluster's authority, as somebody who has its key makes it."""
    made, pki = folder / name, cluster.pki
    for command in (
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{made}.key",
         "-subj", f"/O=system:nodes/CN=system:node:{name}", "-out", f"{made}.csr"],
        ["x509", "-req", "-in", f"{made}.csr", "-days", "2", "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key",
         "-set_serial", "7", "-out", f"{made}.crt"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return made
