# SPDX-License-Identifier: Apache-2.0
"""The job that everybody is given: three services with a configuration file each, in two versions, as plain trees."""

from collections.abc import Mapping
from pathlib import Path

SERVICES = ("alpha", "beta", "gamma")
UNITS = tuple(f"{name}.service" for name in SERVICES)
TEMPLATE = "etc/demo/host.env"
EDITED = "etc/demo/beta.conf"
SHARED = "etc/demo/alpha.conf"
SSHD = "etc/ssh/sshd_config"

PROGRAM = (
    "#!/bin/sh\n# {name} {version}: notes the configuration that it runs with, and stays\n"
    'mkdir -p /run/demo; cp "$1" /run/demo/{name}; exec sleep infinity\n'
)
UNIT = """\
[Unit]
Description={name}
[Service]
ExecStart=/opt/demo/bin/{name} /etc/demo/{name}.conf
[Install]
WantedBy=multi-user.target
"""
CONF = "# {name}\nlisten = 8080\nworkers = 4\n\n# limits\nfiles = 1024\nmemory = 512M\n\n# logging\nlevel = {level}\n"
BAD_SSHD = "Port 22\nPermitRootLogin maybe\nSubsystem sftp /usr/lib/openssh/sftp-server\n"


def version(number: str) -> dict[str, str]:
    """Path -> text. ``1b`` is 1 with another alpha.conf; 2 changes beta, drops a file, and has a new one."""
    files = {}
    for name in SERVICES:
        level = "debug" if (number == "1b" and name == "alpha") or (number == "2" and name == "beta") else "info"
        files[f"opt/demo/bin/{name}"] = PROGRAM.format(name=name, version=number[0])
        files[f"etc/systemd/system/{name}.service"] = UNIT.format(name=name)
        files[f"etc/demo/{name}.conf"] = CONF.format(name=name, level=level)
    if number == "1b":
        files["opt/demo/bin/alpha"] = PROGRAM.format(name="alpha", version="1")
    files[TEMPLATE] = "ADDRESS=$PUBLIC_IP\n"
    files["etc/profile.d/demo-1.sh" if number != "2" else "etc/profile.d/demo-2.sh"] = "export DEMO=yes\n"
    return files


def second() -> dict[str, str]:
    """Another package, which brings a path of the first."""
    return {SHARED: "# of another package\nlisten = 9090\n", "opt/other/README": "another package\n"}


def sshd() -> dict[str, str]:
    """A package with a configuration of sshd that sshd refuses."""
    return {SSHD: BAD_SSHD}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """The tree, below `folder`."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if "/bin/" in path else 0o644)
    return folder
