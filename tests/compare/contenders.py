# SPDX-License-Identifier: Apache-2.0
"""Who does the job: each with what its users write, run as its users run it."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.compare import material
from tests.compare.site import Site, tell

FILES = Path(__file__).parent / "files"


class Contender(Protocol):
    """Each method ends with whether the tool said that it went well."""

    name: str
    removes: bool
    """Whether it has a way to remove what it installed; otherwise that is the user's work."""

    def install(self, site: Site, package: str, files: Mapping[str, str], units: Sequence[str]) -> bool: ...

    def remove(self, site: Site, files: Mapping[str, str], units: Sequence[str]) -> bool: ...


class Ashore:
    """A bundle, its image, and the host's own ashore."""

    name = "ashore"
    removes = True

    def install(self, site: Site, package: str, files: Mapping[str, str], units: Sequence[str]) -> bool:
        folder = site.folder / "bundle"
        shutil.rmtree(folder, ignore_errors=True)
        material.write(folder / "root", files)
        toml = (
            f'name = "{package}"\n[templates]\nshell = ["{material.TEMPLATE}"]\n' if units else f'name = "{package}"\n'
        )
        toml += '[values]\nPUBLIC_IP = "{{ facts.network.interfaces.eth0.ipv4 }}"\n'
        if package == "sshd":
            toml += f'[[files]]\npath = "{material.SSHD}"\nadopt = true\n'
            toml += 'validate = ["/usr/sbin/sshd", "-t", "-f", "{path}"]\nreload = ["ssh.service"]\n'
        toml += "".join(f'[[health]]\nunit = "{unit}"\nsettle = "1s"\n' for unit in units)
        (folder / "bundle.toml").write_text(toml)
        reference = f"{site.registry.host}/job/{package}:latest"
        built = tell([sys.executable, "-m", "ashore", "build", str(folder), "-t", reference, "--push"])
        assert built.returncode == 0, built.stderr
        return site.host.ashore("install", reference, check=False).returncode == 0

    def remove(self, site: Site, files: Mapping[str, str], units: Sequence[str]) -> bool:
        return site.host.ashore("remove", "demo", check=False).returncode == 0


class Script:
    """An image with the tree and a script, run privileged by podman: as published in 2015, or as written today."""

    removes = False

    def __init__(self, name: str, script: str) -> None:
        self.name = name
        self._script = script

    def install(self, site: Site, package: str, files: Mapping[str, str], units: Sequence[str]) -> bool:
        started = units or (["ssh"] if package == "sshd" else [])
        folder = site.folder / "image"
        shutil.rmtree(folder, ignore_errors=True)
        material.write(folder / "root", files)
        for tool in ("/bin/busybox", "/bin/bash-static"):
            shutil.copy(tool, folder)
        shutil.copy(FILES / self._script, folder / "install.sh")
        (folder / "Dockerfile").write_text(
            "FROM scratch\nCOPY busybox bash-static /bin/\n"
            'RUN ["/bin/busybox", "--install", "-s", "/bin"]\nRUN ["/bin/ln", "-s", "bash-static", "/bin/bash"]\n'
            "COPY root /worker-root\nCOPY install.sh /\n"
            f'ENV TEMPLATES="{material.TEMPLATE if units else ""}" UNITS="{" ".join(started)}"\n'
        )
        reference = f"{site.registry.host}/job/{self._script.partition('.')[0]}-{package}:latest"
        for argv in (
            ["buildah", "bud", "--quiet", "--isolation", "chroot", "--layers=false", "-t", reference, str(folder)],
            ["buildah", "push", "--quiet", "--tls-verify=false", reference],
        ):
            done = tell(argv)
            assert done.returncode == 0, done.stderr
        run = "podman run --rm --pull=always --quiet --privileged --net=host --ipc=host --uts=host --pid=host"
        return _ends_well(site, f"{run} -v /:/rootfs {reference} /bin/bash /install.sh")

    def remove(self, site: Site, files: Mapping[str, str], units: Sequence[str]) -> bool:
        return False


class Ansible:
    """A playbook with one task a file, templates, a handler for each service, and a second playbook to remove."""

    name = "Ansible"
    removes = True

    def install(self, site: Site, package: str, files: Mapping[str, str], units: Sequence[str]) -> bool:
        folder = site.folder / "playbook"
        shutil.rmtree(folder, ignore_errors=True)
        material.write(folder / "files", files)
        return self._play(site, folder, [*_file_tasks(folder, files, units), *_unit_tasks(units)], _handlers(units))

    def remove(self, site: Site, files: Mapping[str, str], units: Sequence[str]) -> bool:
        folder = site.folder / "removal"
        folder.mkdir(exist_ok=True)
        tasks: list[object] = [{"systemd": {"name": unit, "state": "stopped", "enabled": False}} for unit in units]
        tasks += [{"file": {"path": f"/{path}", "state": "absent"}} for path in files]
        tasks += [{"file": {"path": path, "state": "absent"}} for path in ("/opt/demo", "/etc/demo")]
        return self._play(site, folder, [*tasks, {"systemd": {"daemon_reload": True}}], [])

    def _play(self, site: Site, folder: Path, tasks: Sequence[object], handlers: Sequence[object]) -> bool:
        import json

        play = [{"hosts": "all", "tasks": list(tasks), "handlers": list(handlers)}]
        (folder / "site.yml").write_text(json.dumps(play))  # JSON is YAML
        key = site.folder / "key"
        if not key.exists():
            tell(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)])
            site.host.write("root/.ssh/authorized_keys", key.with_suffix(".pub").read_text(), 0o600)
        proxy = shlex.join(site.host.argv(["/usr/sbin/sshd", "-i", "-o", "UsePAM=no"]))
        options = f"-o ProxyCommand='{proxy}' -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {key}"
        inventory = folder / "hosts.json"
        variables = {"ansible_ssh_common_args": options, "ansible_python_interpreter": "/usr/bin/python3"}
        inventory.write_text(json.dumps({"all": {"hosts": {site.host.name: variables}}}))
        done = tell(["ansible-playbook", "-i", str(inventory), "-u", "root", str(folder / "site.yml")], seconds=600)
        return done.returncode == 0


def _file_tasks(folder: Path, files: Mapping[str, str], units: Sequence[str]) -> list[object]:
    folders = sorted({path.rpartition("/")[0] for path in files if path.startswith(("opt/", "etc/demo"))})
    tasks: list[object] = [{"file": {"path": f"/{path}", "state": "directory", "mode": "0755"}} for path in folders]
    for path in files:
        name = path.rpartition("/")[2].partition(".")[0]
        task: dict[str, object] = {
            "copy": {
                "src": str(folder / "files" / path),
                "dest": f"/{path}",
                "mode": "0755" if "/bin/" in path else "0644",
            }
        }
        if path == material.TEMPLATE:
            text = files[path].replace("$PUBLIC_IP", "{{ ansible_eth0.ipv4.address }}")
            task = {"copy": {"content": text, "dest": f"/{path}", "mode": "0644"}}
        if path == material.SSHD:
            task["copy"] = {**dict(task["copy"]), "validate": "/usr/sbin/sshd -t -f %s"}  # type: ignore[call-overload]
            task["notify"] = "restart ssh"
        if f"{name}.service" in units:
            task["notify"] = f"restart {name}"
        tasks.append(task)
    return tasks


def _unit_tasks(units: Sequence[str]) -> list[object]:
    return [{"systemd": {"name": unit, "enabled": True, "state": "started", "daemon_reload": True}} for unit in units]


def _handlers(units: Sequence[str]) -> list[object]:
    names = [unit.removesuffix(".service") for unit in units] or ["ssh"]
    return [{"name": f"restart {name}", "systemd": {"name": name, "state": "restarted"}} for name in names]


def _ends_well(site: Site, command: str) -> bool:
    done: subprocess.CompletedProcess[str] = site.host.run(shlex.split(command), check=False, seconds=300)
    return done.returncode == 0


ALL: tuple[Contender, ...] = (
    Ashore(),
    Script("the script of 2015", "worker-install.sh"),
    Ansible(),
    Script("podman and a script", "install.sh"),
)
