# SPDX-License-Identifier: Apache-2.0
"""A booted host that a real kubelet takes for a node: a container runtime, and what systemd-nspawn leaves out.

Pods do not run there (that takes a VM); joining, registering and being ready do.
"""

import shutil
from pathlib import Path

from tests.system import lab

RUNTIME = ("/usr/bin/containerd", "/usr/bin/containerd-shim-runc-v2")
_UNIT = """\
[Service]
Type=notify
ExecStart=/usr/bin/containerd
[Install]
WantedBy=multi-user.target
"""
_NETWORK = """\
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]}}]}
"""
# The kubelet reads kernel messages, and writes three settings of the kernel: not of this machine's.
_PREPARE = """\
set -e
ln -sf /dev/null /dev/kmsg
for setting in kernel/panic_on_oops kernel/panic vm/overcommit_memory; do
    copy=/run/sys-$(basename $setting)
    cat /proc/sys/$setting >$copy
    mount --bind $copy /proc/sys/$setting
done
systemctl daemon-reload
systemctl start containerd.service
"""
# iptables of the machine's kernel is not for hosts in containers: there the real kube-proxy cannot work.
_NO_PROXY = "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n"
KUBELET_ARGS = '["--container-runtime=remote", "--cgroups-per-qos=false", "--enforce-node-allocatable="]'
"""For Kubernetes 1.20, in a host whose control groups are read-only."""


def absent() -> str:
    """Why there can be no node here; empty if there can."""
    missing = [path for path in RUNTIME if not Path(path).exists()]
    return f"{', '.join(missing)} missing: run scripts/lab-packages" if missing else ""


def prepare(host: lab.Host) -> None:
    """Give the booted `host` a container runtime, until its next boot."""
    for program in RUNTIME:
        shutil.copy(program, host.path / program.lstrip("/"))
    host.write("etc/systemd/system/containerd.service", _UNIT)
    host.write("etc/systemd/system/kube-proxy.service.d/no-iptables.conf", _NO_PROXY)
    host.write("etc/cni/net.d/10-pods.conflist", _NETWORK)
    host.run(["sh", "-c", _PREPARE])
