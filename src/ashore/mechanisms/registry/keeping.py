# SPDX-License-Identifier: Apache-2.0
"""Logins written into an auth file, and dropped from it; all else that it holds stays."""

import contextlib
import fcntl
import os
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ashore.errors import InputError, UnchangedError
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.newfile import NewFile, write_fault
from ashore.mechanisms.registry import authfiles
from ashore.nouns.files import printable

_ONLY_HIS = 0o600
_PATIENCE = 10.0
"""Seconds that another login may take; anybody who can read the folder could hold its lock for ever."""
_ELSEWHERE = "name another one with REGISTRY_AUTH_FILE"


def check(path: str) -> None:
    """See that logins can be kept in a file, as far as that can be seen without writing.

    Raises:
        InputError: what lies there is no auth file, or is somebody else's.
    """
    if path.endswith("/"):
        raise InputError(f"{printable(path)} names a folder, not a file", remedy=_ELSEWHERE)
    real = os.path.realpath(path)
    _document(real, _status(real))


def keep(
    path: str, key: str, user: str, password: str, *, instead: Callable[[str], bool], patience: float = _PATIENCE
) -> None:
    """Write a login down under the name `key`, in place of the names that are `instead` of it.

    Raises:
        InputError: as `check`, or the file would be too large.
        UnchangedError: it cannot be written, or somebody else holds it for longer than `patience` in seconds.
    """
    auth = b64encode(f"{user}:{password}".encode()).decode()
    with _rewritten(path, patience) as auths:
        for old in [name for name in auths if instead(name)]:
            del auths[old]
        auths[key] = {"auth": auth}


def forget(path: str, named: Callable[[str], bool], *, patience: float = _PATIENCE) -> bool:
    """Drop the logins whose names are `named`; False if there is none.

    Raises:
        InputError, UnchangedError: as `keep`.
    """
    check(path)
    file = authfiles.load(path, "")
    if not file or not any(map(named, file.auths)):
        return False
    with _rewritten(path, patience) as auths:
        for name in [name for name in auths if named(name)]:
            del auths[name]
    return True


@contextlib.contextmanager
def _rewritten(path: str, patience: float) -> Iterator[dict[str, Any]]:
    """The logins of a file, to be changed: all else that it holds, whose it is and where it lies stays."""
    real = os.path.realpath(path)
    folder, name = os.path.split(real)
    with write_fault(printable(path)):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with closing(descriptor):
        _lock(descriptor, folder, path, patience)
        before = _status(real)
        document = _document(real, before)
        yield document.setdefault("auths", {})
        data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        if len(data) > authfiles.LARGEST:
            cause = f"it would have {len(data)} bytes, and no more than {authfiles.LARGEST} are read"
            raise InputError(f"{printable(path)} has no room for another login", cause=cause, remedy=_ELSEWHERE)
        with write_fault(printable(path)), NewFile(folder, name, mode=_ONLY_HIS) as new:
            if before and before.st_uid != os.geteuid():
                os.fchown(new.descriptor, before.st_uid, before.st_gid)
            new.write(data)
            new.commit()


def _lock(descriptor: int, folder: str, path: str, patience: float) -> None:
    """Wait for another login at the same time to be kept."""
    until = time.monotonic() + patience
    with write_fault(printable(path)):
        while True:
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
    cause = f"somebody else has held the lock of its folder for {patience:g} s"
    raise UnchangedError(
        f"cannot write {printable(path)}", cause=cause, remedy=f"see who: fuser -v {printable(folder)}"
    )


def _document(path: str, there: os.stat_result | None) -> dict[str, Any]:
    """All that a file holds, which is more than ashore knows of it."""
    return authfiles.everything(path) if there else {}


def _status(path: str) -> os.stat_result | None:
    """What lies at `path`, before it is opened: a pipe would wait for somebody who writes."""
    try:
        status = os.stat(path)
        owners = {os.geteuid(), os.stat(os.path.dirname(path)).st_uid}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=error.strerror or "") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{printable(path)} is not a file", remedy=_ELSEWHERE)
    if status.st_uid not in owners:  # it would stay his, with the new login in it
        cause = f"it belongs to user {status.st_uid}, who is neither you nor the owner of its folder"
        remedy = f"remove it if you do not know it, or {_ELSEWHERE}"
        raise InputError(f"{printable(path)} is somebody else's", cause=cause, remedy=remedy)
    return status
