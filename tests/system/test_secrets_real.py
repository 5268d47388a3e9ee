# SPDX-License-Identifier: Apache-2.0
"""Secrets never stand in the process list: every program that is started, here and by PID 1, is looked at."""

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import lab
from tests.system.registry_server import RegistryServer, available

pytestmark = [pytest.mark.real, pytest.mark.slow]

PASSWORD, TOKEN, KEY = "registry-p4ssw0rd", "values-t0ken", "option-k3y"
BUNDLE = """\
schema = 1
name = "secretive"
version = "{version}"

[values]
token = {{ required = true, secret = true }}
key   = {{ required = true, secret = true }}

[[files]]
path     = "etc/secretive.conf"
validate = ["grep", "-q", "token", "{{path}}"]

[[step]]
name    = "look"
phase   = "before"
command = ["true"]
reason  = "a step is a program too"
"""
UNIT = """\
[Service]
ExecStart=/bin/sh -c 'test -s /etc/secretive.conf && exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""


class Started:
    """The command lines and environments of what the host's PID 1, and a command, have started."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def programs(self) -> set[str]:
        """The last parts of the names of all programs."""
        return {Path(name).name for name in re.findall(r'execve\("([^"]+)"', self.text)}


@contextlib.contextmanager
def traced(host: lab.Host, log: Path) -> Iterator[Started]:
    """Note what PID 1 of the host and all below it start."""
    argv = ["strace", "-f", "-qq", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(log), "-p", str(host.leader)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    try:
        host.run(["systemd-run", "--wait", "--quiet", "true"])  # from now on it sees
        yield Started(log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    if not available():
        pytest.skip("no docker-registry here: run scripts/lab-packages")
    server = RegistryServer(str(tmp_path / "registry"), user="ada", password=PASSWORD)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def publish(host: lab.Host, registry: RegistryServer, version: str) -> str:
    """Build and push a version from the host itself."""
    host.write("srv/b/bundle.toml", BUNDLE.format(version=version))
    host.write("srv/b/root/etc/secretive.conf.j2", f"# {version}\ntoken {{{{ token }}}} {{{{ key }}}}\n")
    host.write("srv/b/root/etc/systemd/system/secretive.service", UNIT)
    image = f"{registry.host}/secretive:{version}"
    host.ashore("build", "/srv/b", "-t", image, "--push")
    return image


def test_no_program_is_started_with_a_secret_in_its_command_line_or_environment(
    fresh_host: lab.Host, registry: RegistryServer, tmp_path: Path
) -> None:
    host = fresh_host
    host.forward(registry.port)
    login = subprocess.run(["base64", "-w0"], input=f"ada:{PASSWORD}", capture_output=True, text=True).stdout
    host.write("root/.docker/config.json", f'{{"auths": {{"{registry.host}": {{"auth": "{login}"}}}}}}', 0o600)
    host.write("etc/ashore/values.d/10-token.toml", f'token = "{TOKEN}"\n', 0o600)
    host.write("srv/key", KEY, 0o600)
    first, second = (publish(host, registry, version) for version in ("1", "2"))
    with traced(host, tmp_path / "started") as started:
        # By services of PID 1, so that the command lines are below it as well.
        for command in (f"install {first} --set-file key=/srv/key", f"install {second}", "remove secretive"):
            service = ("systemd-run", "--wait", "--quiet", "--collect", "--pipe", "--setenv=HOME=/root")
            host.run([*service, "sh", "-c", f"/usr/local/bin/ashore {command}; exit $?"], seconds=120)
    assert (host.path / "etc/secretive.conf").exists() is False, "installed, upgraded, removed"
    assert {"systemd-run", "grep", "true"} <= started.programs, "what was to be seen was seen"
    for secret in (PASSWORD, login, TOKEN, KEY):
        assert secret not in started.text
