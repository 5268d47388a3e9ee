# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes bundles of the examples without Kubernetes: built with stand-ins, installed below a folder."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Ran, Shell, refused

yaml = pytest.importorskip("yaml")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/kubernetes"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy", "etcd")
API = "https://10.0.0.10:6443"
FACTS = {
    "hostname": "node-1",
    "network": {
        "default": {"name": "eth0", "ipv4": "10.0.0.20"},
        "interfaces": {"eth0": {"name": "eth0", "ipv4": "10.0.0.20"}, "eth1": {"name": "eth1", "ipv4": "10.0.1.20"}},
    },
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make certs` makes."""
    folder = tmp_path_factory.mktemp("certs") / "cluster"
    make_certs(folder)
    return folder


def make_certs(folder: Path, *more: str) -> str:
    if absent := [tool for tool in ("make", "openssl") if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(absent)} missing")
    command = ["make", "-C", str(EXAMPLES), "certs", f"API={API}", f"CLUSTER={folder}", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(shell: Shell, bundle: str, values: str, *options: str) -> Ran:
    """Build with stand-ins, and install into the shell's root."""
    folder = shell.folder / "programs"
    if not folder.is_dir():
        folder.mkdir()
        for name in PROGRAMS:
            (folder / name).write_text("#!/bin/sh\nexec sleep infinity\n")
            (folder / name).chmod(0o755)
        (shell.folder / "facts.json").write_text(json.dumps(FACTS))
    given = shell.root / "etc/ashore/values.d/50-cluster.toml"
    given.parent.mkdir(parents=True, exist_ok=True)
    given.write_text(values)
    folders = ["--folder", f"kubernetes={folder}"]
    folders += ["--folder", f"etcd={folder}"] if bundle == "control-plane" else []
    built = shell.ashore("build", str(EXAMPLES / bundle), *folders, "-o", f"oci:{shell.folder}/{bundle}.oci")
    assert built.code == 0, built
    facts = ("--facts", str(shell.folder / "facts.json"))
    return shell.on_root("install", f"oci:{shell.folder}/{bundle}.oci", *facts, *options)


def user(kubeconfig: Path) -> dict[str, Any]:
    """Who a kubeconfig says it is; that it holds together is checked on the way."""
    config = yaml.safe_load(kubeconfig.read_text())
    (context,) = config["contexts"]
    assert context["name"] == config["current-context"]
    (cluster,), (who,) = config["clusters"], config["users"]
    assert (context["context"]["cluster"], context["context"]["user"]) == (cluster["name"], who["name"])
    return dict(who["user"])


def units_are_sound(root: Path) -> None:
    """`systemd-analyze verify` on every unit, with the programs that they run in place."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze missing")
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy("/bin/true", root / "bin/sh")
    names = [path.name for path in (root / "etc/systemd/system").glob("*.service")]
    done = subprocess.run(["systemd-analyze", "verify", "--root", root, *names], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if any(n in line for n in names) and "not found" not in line]
    assert said == []


@pytest.mark.parametrize("bundle", ["control-plane", "worker"])
def test_nothing_of_a_cluster_lies_in_a_bundle(bundle: str, shell: Shell) -> None:
    ran = shell.ashore("lint", str(EXAMPLES / bundle))
    assert (ran.code, ran.out) == (0, ""), ran
    texts = {path: path.read_text() for path in (EXAMPLES / bundle).rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if "-----BEGIN" in text] == []


def test_a_control_plane_is_what_its_values_say(cluster: Path, shell: Shell) -> None:
    ran = install(shell, "control-plane", (cluster / "control-plane.toml").read_text())
    assert ran.code == 0, ran
    root = shell.root
    pki = root / "etc/kubernetes/pki"
    for file in pki.iterdir():
        assert file.read_bytes().strip() == (cluster / "pki" / file.name).read_bytes().strip()
        assert file.stat().st_mode & 0o077 == 0 or file.name == "ca.crt", file
    for name in ("admin", "controller-manager", "scheduler"):
        files = user(root / f"etc/kubernetes/{name}.kubeconfig")
        assert {pki / f"{name}.crt", pki / f"{name}.key"} == {root / path.lstrip("/") for path in files.values()}
    for file in (root / "etc/kubernetes/setup").iterdir():
        assert all(document["kind"] for document in yaml.safe_load_all(file.read_text()))
    api = (root / "etc/systemd/system/kube-apiserver.service").read_text()
    assert "--advertise-address=10.0.0.20 \\\n" in api
    units_are_sound(root)


def test_a_worker_joins_by_token_and_one_image_is_for_all(cluster: Path, shell: Shell) -> None:
    ran = install(shell, "worker", (cluster / "worker.toml").read_text(), "--set", 'kubelet_args=["--v=1", "--a=b"]')
    assert ran.code == 0, ran
    etc = shell.root / "etc"
    assert user(etc / "kubernetes/bootstrap.kubeconfig") == {"token": (cluster / "pki/token").read_text().strip()}
    assert (etc / "kubernetes/bootstrap.kubeconfig").stat().st_mode & 0o077 == 0
    assert set(user(etc / "kubernetes/node.kubeconfig").values()) == {"/var/lib/kubelet/pki/kubelet-client-current.pem"}
    kubelet = (etc / "systemd/system/kubelet.service").read_text()
    assert "    --node-ip=10.0.0.20 \\\n" in kubelet
    assert "sock \\\n    --v=1 \\\n    --a=b\nTimeout" in kubelet
    assert "--bind-address=10.0.1.20 \\\n" in (etc / "systemd/system/kube-proxy.service").read_text()
    assert yaml.safe_load((etc / "kubernetes/kubelet.yaml").read_text())["rotateCertificates"] is True
    assert "FLANNELD_PUBLIC_IP=10.0.0.20\n" in (etc / "flannel/options.env").read_text()
    units_are_sound(shell.root)


def test_a_worker_joins_by_files(cluster: Path, shell: Shell) -> None:
    values = (cluster / "worker.toml").read_text().replace("bootstrap_token", 'join = "files"\n# bootstrap_token')
    assert install(shell, "worker", values).code == 0
    etc = shell.root / "etc"
    assert user(etc / "kubernetes/node.kubeconfig") == {
        "client-certificate": "/etc/kubernetes/node.crt",
        "client-key": "/etc/kubernetes/node.key",
    }
    assert yaml.safe_load((etc / "kubernetes/bootstrap.kubeconfig").read_text()) is None
    kubelet = (etc / "systemd/system/kubelet.service").read_text()
    assert "bootstrap" not in kubelet
    assert "--kubeconfig=/etc/kubernetes/node.kubeconfig \\\n" in kubelet
    units_are_sound(shell.root)


def test_a_worker_without_a_token_is_told_so(cluster: Path, shell: Shell) -> None:
    lines = (cluster / "worker.toml").read_text().splitlines(keepends=True)
    ran = install(shell, "worker", "".join(line for line in lines if not line.startswith("bootstrap_token")))
    refused(ran, 3, "etc/kubernetes/bootstrap.kubeconfig.j2:13: the value bootstrap_token is not set: ID.SECRET")
    assert not (shell.root / "opt/bin").exists()


def test_certificates_are_for_whom_they_name_and_made_again_with_the_same_keys(cluster: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    shutil.copytree(cluster, folder)
    pki = folder / "pki"
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    make_certs(folder, "NAMES=api.example 10.0.0.2")
    for path in pki.iterdir():
        again = path.name.endswith(".crt") and not path.name.endswith("ca.crt")
        assert (before[path.name] != path.read_bytes()) is again, path.name
    names = openssl("x509", "-in", pki / "apiserver.crt", "-noout", "-ext", "subjectAltName")
    for name in ("IP Address:10.0.0.10", "DNS:api.example", "IP Address:10.0.0.2", "IP Address:10.96.0.1"):
        assert name in names
    authorities = {"etcd": "etcd-ca", "apiserver-etcd-client": "etcd-ca", "front-proxy-client": "front-proxy-ca"}
    for certificate in sorted(pki.glob("*.crt")):
        authority = authorities.get(certificate.stem, certificate.stem if "ca" in certificate.stem.split("-") else "ca")
        openssl("verify", "-CAfile", pki / f"{authority}.crt", certificate)
    assert (
        openssl("x509", "-in", pki / "admin.crt", "-noout", "-subject")
        .strip()
        .endswith("O = system:masters, CN = admin")
    )
    assert [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077] == []
    values = tomllib.loads((folder / "control-plane.toml").read_text())
    assert "BEGIN" in values["pki"]["apiserver_key"]
    assert "pki" not in tomllib.loads((folder / "worker.toml").read_text())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "make certs API=https://ADDRESS:6443"),
        (["API=http://x"], "is not https"),
        ([f"API={API}", "NAMES=bad name!!"], "'name!!' is neither a DNS name nor an IPv4 address"),
        ([f"API={API}", "NAMES=ok.example,other.example"], "'ok.example,other.example' is neither"),
        (["API=https://[fd00::1]:6443"], "is neither"),
    ],
)
def test_certificates_for_nowhere_are_not_made(given: list[str], said: str, tmp_path: Path) -> None:
    command = ["make", "-C", str(EXAMPLES), "certs", f"CLUSTER={tmp_path}/cluster", *given]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "API": ""})
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert not (tmp_path / "cluster").exists()
