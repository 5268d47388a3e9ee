# SPDX-License-Identifier: Apache-2.0
"""Which units have files in memory, from /proc: an exchanged file does not show as deleted there.

A file is known by device and inode. On overlayfs and btrfs the numbers of ``/proc/PID/maps`` may be others
than those of stat(2): there the kernel's own link to what is mapped, ``/proc/PID/map_files``, is asked.
Source: proc_pid_maps(5), proc_pid_map_files(5), cgroups(7).
"""

import contextlib
import os
import re
from collections.abc import Mapping

from ashore.nouns.ports import Identity

_SUFFIXES = (".service", ".scope")
_DELETED = b" (deleted)"
_ASIDE = re.compile(rb"/(content/sha256/[0-9a-f]{2}/[0-9a-f]{64}|stage/[^/]+/\w+|\.ashore/[^/]+/\w+)$")
"""Where ashore keeps what it moved aside: its store, and its staging folders."""


class ProcFolder:
    """The real `ports.Processes`: the processes that the /proc below a root shows."""

    def __init__(self, root: str) -> None:
        self._proc = os.path.join(root, "proc")

    def mapping(self, files: Mapping[Identity, str], *, gone: bool = False) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        looking = _Looking(self._proc, files, gone)
        for pid in os.listdir(self._proc):
            if pid.isdecimal() and (paths := looking.mapped_by(pid)):
                found.setdefault(_unit(self._proc, pid), set()).update(paths)
        return {unit: tuple(sorted(paths)) for unit, paths in sorted(found.items())}


class _Looking:
    """One look at all processes; what a mapping turned out to be is remembered for those that share it."""

    def __init__(self, proc: str, files: Mapping[Identity, str], gone: bool) -> None:
        self._proc, self._files, self._gone = proc, files, gone
        self._names = {os.fsencode(path.rpartition("/")[2]): path for path in files.values()}
        self._inodes = {str(inode).encode() for _, inode in files}
        self._known: dict[tuple[bytes, bytes, bytes], str] = {}

    def mapped_by(self, pid: str) -> set[str]:
        found = set()
        for line in _read(f"{self._proc}/{pid}/maps").splitlines():
            fields = line.split(None, 5)
            if len(fields) < 6 or fields[4] == b"0":
                continue
            span, device, inode, path = fields[0], fields[3], fields[4], fields[5].removesuffix(_DELETED)
            if self._gone:
                if path == fields[5] and not _ASIDE.search(path):
                    continue
            elif inode not in self._inodes and path.rpartition(b"/")[2] not in self._names:
                continue
            key = (device, inode, path)
            if key not in self._known:
                self._known[key] = self._identify(pid, span, *key)
            if self._known[key]:
                found.add(self._known[key])
        return found

    def _identify(self, pid: str, span: bytes, device: bytes, inode: bytes, path: bytes) -> str:
        """Which of the files it is; empty if none."""
        major, _, minor = device.partition(b":")
        same = self._files.get((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
        if same is not None:
            return same
        try:
            status = os.stat(f"{self._proc}/{pid}/map_files/{span.decode()}")
        except OSError:
            # We may not look: the same inode number under the same name is no accident.
            return next(
                (p for (_, number), p in self._files.items() if number == int(inode) and path == b"/" + os.fsencode(p)),
                "",
            )
        return self._files.get((status.st_dev, status.st_ino), "")


def _unit(proc: str, pid: str) -> str:
    """The system manager's unit that a process belongs to; empty if it has none."""
    lines = _read(f"{proc}/{pid}/cgroup").decode(errors="replace").splitlines()
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    path = paths.get("name=systemd", paths.get("", ""))
    # The first one: what a service delegates, as a user's manager does, lies below it.
    return next((part for part in path.split("/") if part.endswith(_SUFFIXES)), "")


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as file:  # it ended meanwhile
        return file.read()
    return b""
