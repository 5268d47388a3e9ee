# SPDX-License-Identifier: Apache-2.0
"""OpenSSH on a booted host: a configuration that locks everybody out goes back, one that does not is confirmed."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import lab
from tests.system.conftest import require_real
from tests.system.snapshot import Snapshot, differences

pytestmark = pytest.mark.real

CONFIG = "etc/ssh/sshd_config.d/50-site.conf"
GOOD = "MaxAuthTries 4\n"
LOCKED = "AllowUsers nobody\n"
TOML = 'name = "ssh"\n[[files]]\npath = "etc/ssh/sshd_config.d/*"\nreload = ["ssh.service"]\n'
BY_LOGIN = '[confirm]\nwithin = "1m"\nby = "ssh-login"\n'
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "root@localhost")


class Site:
    """A host with sshd that root can log in to, and images for it."""

    def __init__(self, host: lab.Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        host.run(["sh", "-c", "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id; cp ~/.ssh/id.pub ~/.ssh/authorized_keys"])
        host.write("root/.ssh/config", "IdentityFile ~/.ssh/id\n")

    def image(self, tag: str, config: str, toml: str = "") -> str:
        bundle = self.folder / tag
        (bundle / "root" / CONFIG).parent.mkdir(parents=True)
        (bundle / "root" / CONFIG).write_text(config)
        (bundle / "bundle.toml").write_text(TOML + toml)
        target = f"oci:{self.host.path}/root/images:{tag}"
        done = subprocess.run([sys.executable, "-m", "ashore", "build", str(bundle), "-o", target], capture_output=True)
        assert done.returncode == 0, done.stderr
        return f"oci:/root/images:{tag}"

    def logs_in(self, *command: str) -> bool:
        return self.host.run([*SSH, *(command or ("true",))], check=False).returncode == 0

    def status(self) -> Any:
        return json.loads(self.host.ashore("status", "--json").stdout)

    def wait_until_taken_back(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while self.status()["provisional"] is not None or (self.host.path / CONFIG).exists():
            assert time.monotonic() < end, self.host.run(["journalctl", "-u", "ashore-unconfirmed*"]).stdout
            time.sleep(0.2)


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_real()
    with lab.host("ssh", include=lab.SERVICES) as host:
        made = Site(host, tmp_path_factory.mktemp("bundles"))
        made.image("good", GOOD)
        made.image("locked", LOCKED)
        made.image("by-login", LOCKED.replace("nobody", "root"), BY_LOGIN)
        yield made


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The shared host: nothing is installed on it, before and after."""
    before = _tree(whole_site)
    yield whole_site
    for bundle in whole_site.status()["bundles"]:
        whole_site.host.ashore("remove", bundle["name"], "--no-confirm")
    assert differences(before, _tree(whole_site)) == []
    assert whole_site.logs_in()


def _tree(site: Site) -> Snapshot:
    return site.host.snapshot("etc")


def test_who_is_locked_out_by_a_change_gets_in_again_without_doing_anything(site: Site) -> None:
    planned = site.host.ashore("plan", "oci:/root/images:locked").stdout
    assert f"within 5m, or it is taken back: it changes sshd (/{CONFIG})" in planned
    said = site.host.ashore("install", "oci:/root/images:locked", "--confirm", "3s").stdout
    assert "without ashore confirm by" in said and "all of it goes" in said
    assert not site.logs_in(), "it is as bad as it was meant"
    assert "ashore-unconfirmed.timer" in site.host.run(["systemctl", "list-timers"]).stdout
    assert site.status()["provisional"]["within"] == 3
    site.wait_until_taken_back()
    assert site.logs_in()
    (held,) = site.status()["held"]
    assert held["reason"] == "not confirmed in time"
    late = site.host.ashore("confirm", check=False)
    assert late.returncode == 7 and "too late" in late.stderr


def test_a_change_that_is_confirmed_over_ssh_stays(site: Site) -> None:
    site.host.ashore("install", "oci:/root/images:good", "--confirm", "4s")
    assert site.logs_in("ashore", "confirm")
    time.sleep(5)
    assert site.status()["provisional"] is None
    assert (site.host.path / CONFIG).read_text() == GOOD
    assert site.host.run(["systemctl", "list-units", "--all", "ashore-unconfirmed*"]).stdout.count("ashore-") == 0


def test_a_fresh_login_confirms_where_the_bundle_says_so(site: Site) -> None:
    site.host.ashore("install", "oci:/root/images:by-login")
    assert site.status()["provisional"]["by"] == "ssh-login"
    time.sleep(1.1)
    assert site.logs_in("sleep 6")
    assert site.status()["provisional"] is None
    assert (site.host.path / CONFIG).exists()
    log = site.host.run(["journalctl", "-u", "ashore-unconfirmed.service"]).stdout
    assert "is confirmed by a login over ssh" in log


def test_a_reboot_before_anybody_confirmed_goes_back_before_sshd_starts(site: Site) -> None:
    site.host.ashore("install", "oci:/root/images:locked", "--confirm", "1h")
    site.host.run(["sync"])
    site.host.kill()
    site.host.boot()
    assert site.status()["provisional"] is None and not (site.host.path / CONFIG).exists()
    assert site.logs_in()
    began = site.host.show("ssh.service", "ActiveEnterTimestampMonotonic")
    ended = site.host.run(["journalctl", "-o", "json", "-b", "-n", "1", "-g", "brings back"]).stdout
    assert "brings back what was there before" in ended
    assert int(json.loads(ended)["__MONOTONIC_TIMESTAMP"]) < int(began)
    assert site.host.run(["systemctl", "list-units", "--all", "ashore-unconfirmed*"]).stdout.count("ashore-") == 0
