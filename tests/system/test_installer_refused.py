# SPDX-License-Identifier: Apache-2.0
"""An installer image whose bundle does not fit the host, or that cannot speak to PID 1: a clear line, and no change."""

import subprocess
from pathlib import Path

import pytest

from tests.system import lab
from tests.system.conftest import require_real
from tests.system.own_build import own_build
from tests.system.snapshot import Snapshot, differences
from tests.system.test_installer import ASHORE, host, run_image

__all__ = ["host"]
pytestmark = [pytest.mark.real, pytest.mark.slow]

PLACES = ("etc", "opt", "usr", "var/lib", "var/cache")
TOML = """\
name = "worker"
version = "1"
[values]
api_server = { required = true, description = "https URL of the API server" }
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installer image that asks for a value and for an interface."""
    require_real()
    folder = tmp_path_factory.mktemp("refused")
    for name, text in (("address", "{{ facts.network.interfaces.eth7.ipv4 }}\n"), ("server", "{{ api_server }}\n")):
        file = folder / f"worker/root/etc/app/{name}.j2"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "worker/bundle.toml").write_text(TOML)
    target = folder / "out"
    command = [ASHORE, "build", str(folder / "worker"), "--installer", "--self-contained", str(own_build())]
    subprocess.run([*command, "-o", f"oci:{target}"], check=True)
    return target


def changed(host: lab.Host, before: Snapshot) -> list[str]:
    """What is not as before, ashore itself with it, which the image brought."""
    return differences(before, host.snapshot(*PLACES))


@pytest.mark.parametrize("how", [(), ("--boot",)], ids=["by hand", "at boot"])
def test_a_value_and_an_interface_that_the_host_lacks(how: tuple[str, ...], host: lab.Host) -> None:
    before = host.snapshot(*PLACES)
    done = run_image(host, *how)
    said = done.stdout + done.stderr
    assert (done.returncode, "the value api_server is not set: https URL of the API server" in said) == (3, True), said
    assert "/etc/ashore/values.d/*.toml" in said
    host.write("etc/ashore/values.d/50-site.toml", 'api_server = "https://10.0.0.1:6443"\n')
    done = run_image(host, *how)
    said = done.stdout + done.stderr
    assert (done.returncode, "address.j2:1: facts.network.interfaces.eth7 is unknown on this host" in said) == (3, True)
    journal = host.run(["journalctl", "--output=cat", "--unit=ashore-settle"]).stdout
    assert ("facts.network.interfaces.eth7" in journal) is bool(how), "by hand, it is read where it was typed"
    assert "Traceback" not in said + journal
    (host.path / "etc/ashore/values.d/50-site.toml").unlink()
    (host.path / "etc/ashore/values.d").rmdir()
    (host.path / "etc/ashore").rmdir()
    assert changed(host, before) == []


def test_without_a_message_bus_it_says_so_before_anything_is_written(host: lab.Host) -> None:
    before = host.snapshot()
    host.run(["systemctl", "stop", "dbus.socket", "dbus.service"], check=False)
    done = run_image(host)
    assert (done.returncode, "message bus does not run" in done.stderr) == (7, True), done.stdout + done.stderr
    assert "start dbus on the host" in done.stderr
    assert differences(before, host.snapshot()) == []
