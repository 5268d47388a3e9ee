# SPDX-License-Identifier: Apache-2.0
"""The folder that the demo works in: a copy of the example, and an environment with nothing of the user's."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.terminal import Terminal

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLES = CHECKOUT / "examples"
API_SERVER = "https://10.77.0.1:6443"
BUNDLE = "kubernetes-worker"
_KUBELET = "worker/root/etc/systemd/system/kubelet.service.j2"


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    """A terminal in a temporary folder with a copy of the example; `ashore` is this checkout's."""
    with tempfile.TemporaryDirectory(prefix="ashore-demo-") as name:
        folder = Path(name)
        for part in ("worker", "make-tls", "facts.json"):
            source = EXAMPLES / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
        home = folder / ".home"
        home.mkdir()
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "ASHORE_CACHE": str(home / "cache"),
            "LC_ALL": "C.UTF-8",
        }
        yield Terminal(folder, environment)


def make_tls(at: Terminal) -> None:
    """The certificates into the bundle, the key beside it. Without openssl, placeholders: nothing here opens them."""
    if shutil.which("openssl"):
        at.here("./make-tls worker worker-key.pem")
        return
    at.say("openssl is not installed: placeholders stand in for the TLS files")
    ssl = at.folder / "worker/root/etc/kubernetes/ssl"
    for file in (ssl / "ca.pem", ssl / "worker.pem", at.folder / "worker-key.pem"):
        file.write_text(f"placeholder for {file.name}\n")


def values(at: Terminal) -> str:
    """What this host sets: a values file with the address of the API server and the private key."""
    key = (at.folder / "worker-key.pem").read_text().strip()
    return f'api_server = "{API_SERVER}"\nworker_key = """\n{key}"""\n'


def raise_limit(at: Terminal) -> None:
    """Version 1.1: one flag has another value."""
    _new_version(at, "1.0.0", "1.1.0")
    at.here(f"sed -i s/--max-pods=110/--max-pods=250/ {_KUBELET}")


def misspell_flag(at: Terminal) -> None:
    """Version 1.2: a flag that the kubelet does not know."""
    _new_version(at, "1.1.0", "1.2.0")
    at.here(f"sed -i s/--max-pods=/--max-podz=/ {_KUBELET}")


def misspell_value(at: Terminal) -> None:
    """Version 1.2 where no program runs: a value that nobody knows."""
    _new_version(at, "1.1.0", "1.2.0")
    at.here(f"sed -i s/public_ip/public_ipp/ {_KUBELET}")


def _new_version(at: Terminal, old: str, new: str) -> None:
    at.here(f"sed -i s/{old}/{new}/ worker/bundle.toml")
