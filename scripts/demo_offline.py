# SPDX-License-Identifier: Apache-2.0
"""The main job without root, registry and systemd: a folder stands for the host's root, an OCI layout for the image."""

from scripts.material import BUNDLE, make_tls, misspell_value, raise_limit, values
from scripts.terminal import Terminal
from tests.system.snapshot import differences, snapshot

_INSTALL = "ashore install oci:images:{} --root host --facts facts.json"
_KUBELET = "host/etc/systemd/system/kubelet.service"


def tell(at: Terminal) -> None:
    """The whole story.

    Raises:
        StepError: something did not do what it should.
    """
    host = at.folder / "host"
    _author(at)
    file = host / "etc/ashore/values.d/worker.toml"
    file.parent.mkdir(parents=True)
    file.write_text(values(at))
    file.chmod(0o600)
    (host / "var/lib").mkdir(parents=True)
    before = snapshot(host)
    _install(at)
    _upgrade(at)
    second = snapshot(host)
    _refuse(at)
    at.check(not differences(second, snapshot(host)), "not one file of the host differs from before the attempt")
    _roll_back(at)
    _remove(at)
    at.check(not differences(before, snapshot(host)), "the host is as before the first install")


def _author(at: Terminal) -> None:
    at.heading("A bundle is a folder: root/ is laid on the host as it stands, bundle.toml says how")
    make_tls(at)
    at.here("find worker -type f | sort", shows=["worker/bundle.toml", "ssl/worker.pem"])
    at.here("cat worker/root/etc/flannel/options.env.j2")
    at.heading("It becomes an image, here in an OCI layout")
    at.here("ashore lint worker", shows=["nothing to report"])
    at.here("ashore build worker -o oci:images:1.0", shows=["sha256:"])


def _install(at: Terminal) -> None:
    at.heading("The host is a folder, so its facts come from a file; what was set for it lies in the folder")
    at.here("cat facts.json", shows=["10.77.0.2"])
    at.here("head -n 3 host/etc/ashore/values.d/worker.toml", shows=["api_server"])
    at.heading("Plan: everything that would change, and nothing is changed")
    plan = at.here("ashore plan oci:images:1.0 --root host --facts facts.json", shows=["kubelet.service"])
    at.check("PRIVATE KEY" not in plan, "the plan does not show the private key")
    at.heading("Install: files placed, templates rendered, units enabled")
    at.here(_INSTALL.format("1.0"), shows=["generation 1"])
    at.here("cat host/etc/flannel/options.env", shows=["FLANNELD_PUBLIC_IP=10.77.0.2"])
    at.here("grep -A 3 ExecStart= host/etc/systemd/system/kube-proxy.service", shows=["--bind-address=10.78.0.2"])
    at.here("ls -l host/etc/kubernetes/ssl", shows=["-rw-------"])
    at.here("ls host/etc/systemd/system/multi-user.target.wants", shows=["kubelet.service", "kube-proxy.service"])
    at.heading("Installing what is installed does nothing")
    at.here(_INSTALL.format("1.0"), shows=["nothing to do"])


def _upgrade(at: Terminal) -> None:
    at.heading("Version 1.1 changes one flag of the kubelet: one file changes")
    raise_limit(at)
    at.here("ashore build worker -o oci:images:1.1", shows=["sha256:"])
    at.here("ashore plan oci:images:1.1 --root host --facts facts.json", shows=["--max-pods=250", "1 to change"])
    at.here(_INSTALL.format("1.1"), shows=["generation 2"])
    at.here("ashore status --root host", shows=["1.1.0"])


def _refuse(at: Terminal) -> None:
    at.heading("Version 1.2 misspells a value in a template: it is refused whole, with file and line")
    at.say("(with systemd, a unit that does not come up makes the host go back; make demo as root on Debian shows it)")
    misspell_value(at)
    at.here("ashore build worker -o oci:images:1.2", shows=["sha256:"])
    at.here(_INSTALL.format("1.2"), code=3, shows=["public_ipp"])
    at.here("ashore status --root host", shows=["1.1.0"])


def _roll_back(at: Terminal) -> None:
    at.heading("Rollback needs no image: they are all deleted first")
    at.here("rm -r images")
    at.here("ashore rollback --root host", shows=["generation 3"])
    at.here(f"grep -- --max-pods {_KUBELET}", shows=["--max-pods=110"])
    at.here("ashore history --root host", shows=["* 3"])


def _remove(at: Terminal) -> None:
    at.heading("Removal: files go, what was there before is back")
    at.here(f"ashore remove {BUNDLE} --root host", shows=["removed"])
    at.here("find host -path host/var/lib/ashore -prune -o -type f -print", shows=["values.d/worker.toml"])
