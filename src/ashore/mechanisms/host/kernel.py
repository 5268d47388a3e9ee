# SPDX-License-Identifier: Apache-2.0
"""Values of the running kernel below a root: ``proc/sys`` and parameters of modules."""

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence

from ashore.errors import AshoreError, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing
from ashore.nouns.files import shown
from ashore.nouns.triggers import Setting

SYSCTLS = "proc/sys"
_LONGEST = 64 << 10


def read(host: Beneath, paths: Iterable[str]) -> dict[str, str]:
    """The values of those that can be read, without the newline at their end."""
    texts = {path: host.text_of(path, _LONGEST) for path in paths}
    return {path: text.rstrip("\n") for path, text in texts.items() if text is not None}


def write(host: Beneath, setting: Setting) -> None:
    """Give a setting a value.

    Raises:
        AshoreError: the kernel does not take it.
    """
    # A module's parameter would keep the newline, and look for firmware there; but nothing is no value to write.
    ends = b"\n" if setting.path.startswith(SYSCTLS) or not setting.value else b""
    data = setting.value.encode(errors="replace") + ends
    try:
        with closing(host.open(setting.path, os.O_WRONLY | os.O_TRUNC, follow=True)) as descriptor:
            # A value is taken in one piece: a second write would be a second value.
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.EIO, "it was taken in part", setting.path)
    except OSError as error:
        cause = words_of(error)
        raise AshoreError(f"{shown(setting.path)} cannot be set to {setting.value!r}", cause=cause) from error


def put_back(host: Beneath, settings: Sequence[Setting]) -> list[str]:
    """Give settings their old values; why some did not take theirs.

    Twice where need be: some reset others when they change, as ``ip_forward`` does.
    """
    failed: dict[str, str] = {}
    for _ in range(2):
        now = read(host, [setting.path for setting in settings])
        failed.clear()
        for setting in settings:
            if now.get(setting.path) != setting.value:
                try:
                    write(host, setting)
                except AshoreError as error:
                    failed[setting.path] = str(error)
    return list(failed.values())


def writable(host: Beneath, path: str = SYSCTLS) -> bool:
    """Whether settings can be written at all: in many containers they cannot."""
    try:
        return not os.fstatvfs(host.folder(path)).f_flag & os.ST_RDONLY
    except OSError:
        return False


def named_by(host: Beneath, pattern: str) -> tuple[str, ...]:
    """The settings that a glob names, sorted; ``*`` stays within a name."""
    import fnmatch

    found = [""]
    for part in pattern.split("/"):
        deeper = []
        for folder in found:
            if not any(char in part for char in "*?["):
                deeper.append(f"{folder}/{part}".lstrip("/"))
                continue
            with contextlib.suppress(OSError):
                names = host.listdir(folder)
                deeper += [f"{folder}/{name}" for name in names if fnmatch.fnmatchcase(name, part)]
        found = deeper
    return tuple(path for path in sorted(found) if host.lstat(path) is not None)


def may_load_modules(host: Beneath) -> bool:
    """Whether this is a system that loads modules: in a container the kernel is somebody else's.

    Who entered it from outside may more than it does: at its boot, PID 1 would not load them (ConditionCapability=).
    """
    return _may(host, "self", "CapEff") and _may(host, "1", "CapBnd")


def _may(host: Beneath, process: str, which: str) -> bool:
    """Whether one of a process's sets of capabilities has the one that it takes."""
    for line in (host.text_of(f"proc/{process}/status", _LONGEST) or "").splitlines():
        if line.startswith(f"{which}:"):
            return bool(int(line.partition(":")[2], 16) >> _CAP_SYS_MODULE & 1)
    return False


_CAP_SYS_MODULE = 16
"""capabilities(7), linux/capability.h."""
