# SPDX-License-Identifier: Apache-2.0
"""Has somebody logged in over ssh since? As logind(8) tells of sessions that are there, and wtmp(5) of all."""

import os
import platform
import struct
from collections.abc import Mapping

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing

_SESSIONS = "run/systemd/sessions"
_WTMP = "var/log/wtmp"
_LIMIT = 64 * 1024
_TAIL = 1000
"""Records of wtmp to look at, the newest."""
_USER_PROCESS = 7
# utmp(5): type, pid, line, id, user, host, exit status, session, seconds, microseconds, address.
_RECORD = struct.Struct("<h2xi32s4s32s256s4siii16s20x")
_RECORD_64 = struct.Struct("<h2xi32s4s32s256s4sqqq16s24x")
"""Where glibc has no 32-bit past: arm64."""


def logged_in_over_ssh(host: Beneath, since: float, uptime: float) -> bool:
    """Whether a connection that began after `since` (seconds since 1970) logged in over ssh.

    `uptime` is the same moment in seconds since the machine booted: another terminal over a connection that
    was there before does not count.
    """
    return _by_logind(host, uptime) or _by_wtmp(host, since, uptime)


def _by_logind(host: Beneath, uptime: float) -> bool:
    """systemd's own files below /run/systemd/sessions, one a session: lines of ``KEY=VALUE``.

    Their REALTIME= is of a clock that may have been set back since. MONOTONIC= is not, but leaves out what the machine
    was suspended: there a login is missed rather than one from before believed.
    """
    try:
        names = host.listdir(_SESSIONS)
    except OSError:
        return False
    for name in names:
        text = host.text_of(f"{_SESSIONS}/{name}", _LIMIT) or ""  # it may have ended, or be the FIFO of one
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if said.get("SERVICE") in ("sshd", "ssh") and _number(said, "MONOTONIC") / 1e6 > uptime:
            connected = _began(host, _number(said, "LEADER"))
            if connected is None or connected > uptime:
                return True
    return False


def _number(said: Mapping[str, str], key: str) -> int:
    return int(said[key]) if said.get(key, "").isdigit() else 0


def _by_wtmp(host: Beneath, since: float, uptime: float) -> bool:
    record = _RECORD_64 if platform.machine() in ("aarch64", "riscv64") else _RECORD
    try:
        descriptor = host.open(_WTMP, os.O_RDONLY | os.O_NONBLOCK, follow=True)
    except OSError:
        return False
    with closing(descriptor):
        size = os.fstat(descriptor).st_size
        whole = size - size % record.size
        start = max(0, whole - _TAIL * record.size)
        data = os.pread(descriptor, whole - start, start)
    for kind, pid, line, _, _, where, _, _, seconds, *_ in record.iter_unpack(
        data[: len(data) - len(data) % record.size]
    ):
        if kind != _USER_PROCESS or seconds <= since or not line.startswith(b"pts/"):
            continue
        # Terminals of this machine name a display or a multiplexer there.
        remote = where.rstrip(b"\0")
        if remote and not remote.startswith(b":") and b"(" not in remote and b"via mosh" not in remote:
            began = _began(host, pid)
            if began is None or began > uptime:
                return True
    return False


def _began(host: Beneath, pid: int) -> float | None:
    """When a process began, in seconds since boot; None if it has ended."""
    try:
        stat = host.read_bytes(f"proc/{pid}/stat", _LIMIT)
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
