# SPDX-License-Identifier: Apache-2.0
"""The main job on a real host: systemd booted in a container, a real registry, the article's worker."""

import re
import subprocess

from scripts.material import BUNDLE, make_tls, misspell_flag, raise_limit, values
from scripts.terminal import Terminal
from tests.system import lab
from tests.system.registry_server import RegistryServer, registry_server
from tests.system.snapshot import differences

_VALUES = "/etc/ashore/values.d/worker.toml"
_ETH1 = (
    "link add eth1 type veth peer name wire1",
    "link set wire1 up",
    "link set eth1 up",
    "address add 10.78.0.2/24 dev eth1",
)


def tell(at: Terminal) -> None:
    """The whole story.

    Raises:
        StepError: something did not do what it should.
    """
    at.say("Getting ready: a registry (docker-registry), and a host: Debian with systemd, booted in a container.")
    at.say("The first time, its tree is made by mmdebstrap; that takes about a minute.")
    with registry_server() as registry, lab.host("worker1") as host:
        at.connect(host.argv)
        image = f"{registry.host}/k8s/worker"
        _author(at, image)
        _equip(at, host, registry)
        before = host.snapshot()
        _plan(at, image)
        first = _install(at, image)
        second = _upgrade(at, image, first)
        _fail(at, image, second)
        _roll_back(at, registry, second)
        _remove(at)
        changed = differences(before, host.snapshot())
        at.check(not changed, f"{len(before)} files and folders of the host are as before the first install")


def _equip(at: Terminal, host: lab.Host, registry: RegistryServer) -> None:
    """What the host has before ashore: a second interface, its own values, a way to the registry."""
    for command in _ETH1:
        subprocess.run(["ip", "-n", host.machine, *command.split()], check=True)
    host.write(_VALUES, values(at), 0o600)
    host.forward(registry.port)


def _author(at: Terminal, image: str) -> None:
    at.heading("A bundle is a folder: root/ is laid on the host as it stands, bundle.toml says how")
    make_tls(at)
    at.here("find worker -type f | sort", shows=["worker/bundle.toml", "ssl/worker.pem"])
    at.here("cat worker/root/etc/flannel/options.env.j2")
    at.heading("It becomes an image in a registry; no Docker is needed")
    at.here("ashore lint worker", shows=["nothing to report"])
    at.here(f"ashore build worker -t {image}:1.0 --push", shows=["sha256:"])


def _plan(at: Terminal, image: str) -> None:
    at.heading("The host knows its addresses, and what cloud-config or an administrator set")
    at.host("ashore facts | grep -E 'hostname|\\.ipv4 ='", shows=["10.77.0.2", "10.78.0.2"])
    at.host(f"head -n 3 {_VALUES}", shows=["api_server"])
    at.heading("Plan: everything that would change, and nothing is changed")
    plan = at.host(f"ashore plan {image}:1.0", shows=["kubelet.service", "kube-proxy.service"])
    at.check("PRIVATE KEY" not in plan, "the plan does not show the private key")


def _install(at: Terminal, image: str) -> dict[str, str]:
    at.heading("Install: files placed, templates rendered, units enabled, started and watched")
    at.host(f"ashore install {image}:1.0", shows=["generation 1"])
    at.host("cat /etc/flannel/options.env", shows=["FLANNELD_PUBLIC_IP=10.77.0.2"])
    at.host("grep -A 3 ExecStart= /etc/systemd/system/kube-proxy.service", shows=["--bind-address=10.78.0.2"])
    at.host("ls -l /etc/kubernetes/ssl", shows=["-rw-------"])
    at.host("ashore status", shows=["kubelet.service: active (running)", "kube-proxy.service: active (running)"])
    pids = _pids(at)
    at.heading("Installing what is installed does nothing")
    at.host(f"ashore install {image}:1.0", shows=["nothing to do"])
    return pids


def _upgrade(at: Terminal, image: str, first: dict[str, str]) -> dict[str, str]:
    at.heading("Version 1.1 changes one flag of the kubelet: only the kubelet restarts")
    raise_limit(at)
    at.here(f"ashore build worker -t {image}:1.1 --push", shows=["sha256:"])
    at.host(f"ashore plan {image}:1.1", shows=["--max-pods=250", "restart kubelet.service"])
    at.host(f"ashore install {image}:1.1", shows=["generation 2"])
    second = _pids(at)
    at.check(second["kubelet.service"] != first["kubelet.service"], "the kubelet was restarted")
    at.check(second["kube-proxy.service"] == first["kube-proxy.service"], "kube-proxy was not: its PID is the same")
    return second


def _fail(at: Terminal, image: str, second: dict[str, str]) -> None:
    at.heading("Version 1.2 misspells a flag: the kubelet dies, and the host goes back by itself")
    misspell_flag(at)
    at.here(f"ashore build worker -t {image}:1.2 --push", shows=["sha256:"])
    at.host(f"ashore install {image}:1.2", code=7, shows=["kubelet.service"])
    at.host("journalctl --unit=kubelet --output=cat --grep='unknown flag'", shows=["unknown flag: --max-podz"])
    at.host("grep -- --max-pod /etc/systemd/system/kubelet.service", shows=["--max-pods=250"])
    at.host("ashore status", shows=["1.1.0", "kubelet.service: active (running)", "held:"])
    now = _pids(at)
    at.check(now["kube-proxy.service"] == second["kube-proxy.service"], "kube-proxy never noticed")


def _roll_back(at: Terminal, registry: RegistryServer, second: dict[str, str]) -> None:
    at.heading("Rollback needs no network: the registry is stopped first")
    registry.stop()
    at.say("(the registry does not run any more)")
    at.host("ashore rollback", shows=["generation 3"])
    at.host("grep -- --max-pods /etc/systemd/system/kubelet.service", shows=["--max-pods=110"])
    now = _pids(at)
    at.check(now["kube-proxy.service"] == second["kube-proxy.service"], "again only the kubelet was restarted")
    at.host("ashore history", shows=["* 3"])


def _remove(at: Terminal) -> None:
    at.heading("Removal: units stop, files go, what was there before is back")
    at.host(f"ashore remove {BUNDLE}", shows=["removed"])
    at.host("ls /etc/kubernetes /etc/flannel /opt/bin", code=2, shows=["No such file"])
    at.host("systemctl list-units --all 'kube*'", shows=["0 loaded units listed"])


def _pids(at: Terminal) -> dict[str, str]:
    """Unit -> PID of its program."""
    printed = at.host("systemctl show --property=Id,MainPID kubelet kube-proxy")
    running = re.findall(r"^MainPID=([1-9]\d*)$", printed, re.MULTILINE)
    at.check(len(running) == 2, "both run")
    return dict(zip(re.findall(r"^Id=(.+)$", printed, re.MULTILINE), running, strict=True))
