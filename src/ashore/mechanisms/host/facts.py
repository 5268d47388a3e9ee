# SPDX-License-Identifier: Apache-2.0
"""What a host is. On a live root the kernel is asked; on an offline one only the root's own files.

Offline there are: hostname, machine-id, os-release, and the architecture, which is read from the ELF
header of a program that every system has. Others stay unknown there, and naming them is an error.
"""

import contextlib
import os
import re
import struct
from collections.abc import Mapping

import msgspec

from ashore.errors import NOT_DECODED, AshoreError
from ashore.mechanisms import process
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.host import network
from ashore.nouns.facts import Facts
from ashore.nouns.limits import MIB

_LARGEST = 4 * MIB
_VIRT_SECONDS = 5.0
CLOUD_DATA = "run/cloud-init/instance-data.json"
_PROGRAMS = ("usr/bin/env", "bin/sh", "usr/lib/systemd/systemd", "bin/busybox", "usr/bin/bash", "sbin/init")
# uname(2)'s machine, and the ELF header's e_machine, as Go and OCI name them.
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
}
_VARIANTS = {"armv6l": "v6", "armv7l": "v7"}
_ELF = {
    3: "386",
    8: "mips64le",
    21: "ppc64le",
    22: "s390x",
    40: "arm",
    62: "amd64",
    183: "arm64",
    243: "riscv64",
    258: "loong64",
}
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_OS_RELEASE = re.compile(r"([A-Za-z0-9_]+)=(.*)")
_QUOTED = re.compile(r"\\([\"$`\\])")


def collect(host: Beneath, *, live: bool) -> Facts:
    """The facts of a root; `live`: of the running system. Never fails: what cannot be read is unknown."""
    common = Facts(
        hostname=_hostname(host),
        machine_id=_machine_id(host),
        os=_os_release(host),
        architecture=_architecture(host),
    )
    if not live:
        return common
    kernel = os.uname()
    return msgspec.structs.replace(
        common,
        hostname=kernel.nodename or common.hostname,
        fqdn=_fqdn(host, kernel.nodename),
        architecture=machine_architecture(),
        kernel=kernel.release,
        cpus=os.cpu_count(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        virtualization=_virtualization(),
        network=network.collect(host),
        cloud=_cloud(host),
    )


def runs_here(root: str) -> bool:
    """Whether `root` is the root of PID 1, systemd or not: whether this kernel's answers are about it.

    Only root may look at PID 1's; for others their own root stands for it.
    """
    for process_name in ("1", "self"):
        with contextlib.suppress(PermissionError):
            try:
                of_process = os.stat(os.path.join(root, "proc", process_name, "root"))
                return os.path.samestat(of_process, os.stat(root))
            except (FileNotFoundError, NotADirectoryError):
                return False
    return False


def machine_architecture() -> str:
    """This machine's, as OCI names it."""
    machine = os.uname().machine
    return _MACHINES.get(machine, machine)


def machine_variant(architecture: str) -> str:
    """This machine's variant of `architecture`, as OCI names it; empty where it has none or is not known."""
    return _VARIANTS.get(os.uname().machine, "") if machine_architecture() == architecture else ""


def _text(host: Beneath, path: str) -> str:
    """A text file's content; empty where there is none."""
    return host.text_of(path, _LARGEST) or ""


def _hostname(host: Beneath) -> str | None:
    """The static one: first line of hostname(5) that is no comment."""
    lines = (line.strip() for line in _text(host, "etc/hostname").splitlines())
    return next((line for line in lines if line and not line.startswith("#")), None)


def _fqdn(host: Beneath, hostname: str) -> str | None:
    """From the name itself or hosts(5). DNS is not asked: it may not answer for a minute."""
    if "." in hostname:
        return hostname
    for line in _text(host, "etc/hosts").splitlines():
        names = line.partition("#")[0].split()[1:]
        if hostname in names:
            full = next((name for name in names if name.startswith(f"{hostname}.")), None)
            if full:
                return full
    return None


def _machine_id(host: Beneath) -> str | None:
    text = _text(host, "etc/machine-id").strip()
    return text if _MACHINE_ID.fullmatch(text) else None


def _os_release(host: Beneath) -> Mapping[str, str] | None:
    """os-release(5), keys in lower case, values without the shell's quotes."""
    text = _text(host, "etc/os-release") or _text(host, "usr/lib/os-release")
    found = {}
    for line in text.splitlines():
        pair = _OS_RELEASE.fullmatch(line.strip())
        if pair:
            found[pair[1].lower()] = _unquoted(pair[2])
    return found or None


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1] if text[0] == "'" else _QUOTED.sub(r"\1", text[1:-1])
    return text


def _architecture(host: Beneath) -> str | None:
    for path in _PROGRAMS:
        with contextlib.suppress(OSError):
            with closing(host.open(path, os.O_RDONLY | os.O_NONBLOCK, follow=True)) as descriptor:
                header = os.read(descriptor, 20)
            if len(header) == 20 and header.startswith(b"\x7fELF"):
                little = header[5] == 1
                (machine,) = struct.unpack("<H" if little else ">H", header[18:20])
                name = _ELF.get(machine)
                return name if little or not name else name.removesuffix("le")
    return None


def _virtualization() -> str | None:
    """systemd-detect-virt's word; it ends with 1 and says ``none`` on bare metal."""
    try:
        done = process.run(["systemd-detect-virt"], seconds=_VIRT_SECONDS, check=False)
    except AshoreError:
        return None
    return done.stdout.decode(errors="replace").strip() or None


def _cloud(host: Beneath) -> Mapping[str, object] | None:
    """The ``v1`` keys of cloud-init's instance data, which are the same on every cloud."""
    try:
        data = msgspec.json.decode(host.read_bytes(CLOUD_DATA, _LARGEST))
    except (OSError, *NOT_DECODED):
        return None
    known = data.get("v1") if isinstance(data, dict) else None
    return {str(k): v for k, v in known.items() if v is not None} if isinstance(known, dict) else None
