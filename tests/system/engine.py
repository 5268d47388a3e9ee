# SPDX-License-Identifier: Apache-2.0
"""podman on a booted host: ``lab.host(..., include=engine.PACKAGES, engine=True)``, then `prepare`."""

from tests.system import lab

PACKAGES = ("podman", "runc")
# crun refuses this kind of control groups; an overlay cannot lie on another; and a host without CAP_SYS_RESOURCE
# raises no limits.
CONTAINERS = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""
STORAGE = """\
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""
INSECURE = '[[registry]]\nlocation = "{host}"\ninsecure = true\n'
QUIET_UNITS = ("podman.service", "podman.socket", "podman-auto-update.timer", "podman-restart.service")


def prepare(host: lab.Host, registry: str) -> None:
    """Let podman run privileged containers there, from a registry without TLS."""
    host.run(["systemctl", "mask", "--quiet", "--now", *QUIET_UNITS])
    host.run(["systemctl", "reset-failed"])
    host.run(["sh", "-c", "rm -rf /var/lib/containers /run/containers"])
    host.write("etc/containers/containers.conf", CONTAINERS)
    host.write("etc/containers/storage.conf", STORAGE)
    host.write("etc/containers/registries.conf.d/lab.conf", INSECURE.format(host=registry))
