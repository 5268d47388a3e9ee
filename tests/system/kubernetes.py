# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane, installed by ashore on a booted host and reachable from this machine's loopback.

Nodes elsewhere join it: other hosts by ``https://127.0.0.1:PORT`` (`lab.Host.forward`), VMs with a user network by
``https://10.0.2.2:PORT``. The programs are those in the folder that `KUBERNETES_BIN_DIR` names, or of the archive that
lies beside the checkout; etcd is Debian's.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.system import lab
from tests.system.forward import Published

EXAMPLES = lab.CHECKOUT / "examples/kubernetes"
VARIABLE = "KUBERNETES_BIN_DIR"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy")
ASHORE = str(Path(sys.executable).parent / "ashore")
USER_NETWORK = "10.0.2.2"
"""What a VM with a user network calls this machine's loopback."""
_API = 6443
# A machine that is busy lets a lease run out, and who loses it ends.
_ALONE = """\
kube_controller_manager_args = ["--leader-elect=false"]
kube_scheduler_args = ["--leader-elect=false"]
"""
_SECONDS = 300.0


def absent() -> str:
    """Why there can be no cluster here; empty if there can."""
    if reason := lab.missing():
        return reason
    if missing := [tool for tool in ("etcd", "openssl", "make") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} missing: run scripts/lab-packages"
    if folder := os.environ.get(VARIABLE):
        lacking = [name for name in PROGRAMS if not os.access(Path(folder, name), os.X_OK)]
        return f"{VARIABLE}={folder} has no {', '.join(lacking)}" if lacking else ""
    return "" if _archive() else f"no Kubernetes: name the folder with its programs by {VARIABLE}"


def programs() -> Path:
    """The folder with Kubernetes' programs."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder).absolute()
    archive = _archive()
    assert archive, "absent() is asked before"
    return lab.cached("kubernetes", [archive.name, str(archive.stat().st_size)], lambda to: _unpack(archive, to))


class Cluster:
    """The control plane, while it runs: `host` has it, `port` of this machine's loopback reaches it."""

    def __init__(self, host: lab.Host, folder: Path, port: int, digest: str) -> None:
        self.host, self.port, self.digest = host, port, digest
        self._folder = folder

    @property
    def pki(self) -> Path:
        """The authority's files, which `make certs` made."""
        return self._folder / "pki"

    @property
    def url(self) -> str:
        """Where other booted hosts reach it, which forward `port`."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def url_for_vms(self) -> str:
        """Where a VM with a user network reaches it."""
        return f"https://{USER_NETWORK}:{self.port}"

    def worker_values(self, api_server: str, *more: str) -> str:
        """The values of a node, as `make certs` writes them, for the address that it knows the API server by."""
        lines = (self._folder / "worker.toml").read_text().splitlines()
        kept = [f'api_server = "{api_server}"' if line.startswith("api_server") else line for line in lines]
        return "\n".join([*more, *kept]) + "\n"

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """What kubectl says, as the cluster's administrator, on the control plane's host."""
        command = ["/opt/bin/kubectl", "--kubeconfig=/etc/kubernetes/admin.kubeconfig", *arguments]
        return self.host.run(command, check=check, stdin=stdin).stdout

    def get(self, *arguments: str) -> Any:
        """Objects as JSON; an empty dict for one that is not there."""
        return json.loads(self.kubectl("get", "--output=json", "--ignore-not-found", *arguments) or "{}")

    def items(self, *arguments: str) -> Any:
        """A list of objects, which may be empty."""
        return self.get(*arguments).get("items", [])

    def ready(self, node: str) -> bool:
        """Whether the node says of itself that it is ready, and was heard of lately."""
        conditions = self.get("node", node).get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def heartbeat(self, node: str) -> str:
        """When the node last renewed its lease."""
        lease = self.get("lease", node, "--namespace=kube-node-lease")
        return str(lease.get("spec", {}).get("renewTime", ""))

    def until(self, holds: Callable[[], object], what: str, seconds: float = _SECONDS) -> None:
        """Wait until `holds` does."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                state = self.kubectl("get", "nodes,csr,pods", "--all-namespaces", "--output=wide", check=False)
                raise lab.LabError(f"not {what} after {seconds:g} s\n{state}")
            time.sleep(1)


@contextlib.contextmanager
def control_plane(folder: Path, name: str = "control") -> Iterator[Cluster]:
    """A cluster of its own: certificates made, bundle built, installed on a booted host, healthy.

    Raises:
        LabError: it does not come up.
    """
    make_certs(folder / "cluster", f"https://{USER_NETWORK}:{_API}")
    host = lab.Host(name)
    try:
        host.boot()
        digest = build("control-plane", f"oci:{host.path}/srv/control-plane", etcd=Path("/usr/bin"))
        values = _ALONE + (folder / "cluster/control-plane.toml").read_text()
        host.write("etc/ashore/values.d/50-cluster.toml", values, 0o600)
        done = host.ashore("install", "oci:/srv/control-plane", check=False, seconds=_SECONDS)
        if done.returncode:
            log = host.run(["journalctl", "--no-pager", "--lines=60"]).stdout
            raise lab.LabError(f"no control plane: {done.returncode}\n{done.stdout}{done.stderr}{log}")
        shutil.rmtree(host.path / "srv/control-plane")
        door = Published(_API, f"/run/netns/{host.machine}")
        try:
            yield Cluster(host, folder / "cluster", door.port, digest)
        finally:
            door.close()
    finally:
        host.remove()


def make_certs(cluster: Path, api: str, *names: str) -> None:
    """`make certs`, as the tutorial says it."""
    command = ["make", "-C", str(EXAMPLES), "certs", f"API={api}", f"NAMES={' '.join(names)}", f"CLUSTER={cluster}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise lab.LabError(f"make certs: {done.stdout}{done.stderr}")


def build(bundle: str | Path, target: str, *options: str, **folders: Path) -> str:
    """Build a bundle of the examples, or a copy of one, into `target`; its digest."""
    source = EXAMPLES / bundle if isinstance(bundle, str) else bundle
    named = {"kubernetes": programs(), **folders}
    given = [word for name, folder in named.items() for word in ("--folder", f"{name}={folder}")]
    where = ["-t", target, "--push"] if not target.startswith("oci") else ["-o", target]
    command = [ASHORE, "build", str(source), *given, "--compression", "none", *options, *where]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise lab.LabError(f"{bundle} is not built: {done.stdout}{done.stderr}")
    return done.stdout.strip().rpartition("@")[2]


def _archive() -> Path | None:
    found = sorted((lab.CHECKOUT.parent / "shared/kubernetes").glob("kubernetes-*-linux-amd64.tar.xz"))
    return found[-1] if found else None


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xJf", archive, "-C", folder, "--no-same-owner"], check=True)
