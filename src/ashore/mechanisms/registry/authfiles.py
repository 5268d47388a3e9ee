# SPDX-License-Identifier: Apache-2.0
"""The files that logins are kept in (containers-auth.json(5), Docker's config.json): where they lie, read, written."""

import contextlib
import fcntl
import os
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ashore.errors import NOT_DECODED, InputError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.ifthere import read_if_there
from ashore.mechanisms.newfile import NewFile, write_fault
from ashore.nouns import strictjson
from ashore.nouns.files import printable

_LARGEST = 1024 * 1024
_ONLY_HIS = 0o600


class Auth(msgspec.Struct, rename="lower"):
    """What a file has under one name."""

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


NO_LOGIN = Auth()
"""What docker leaves in the file where a helper keeps the login."""


class AuthFile(msgspec.Struct, rename="camel"):
    """What ashore reads of one file."""

    auths: dict[str, Auth] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


def paths(config_root: str, environ: Mapping[str, str], home: str) -> Iterator[str]:
    """The auth files in the order of containers-auth.json(5); Docker's last."""
    if chosen := environ.get("REGISTRY_AUTH_FILE"):
        yield chosen
        return
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    # Where `podman login` writes when there is no session, as for root on a server.
    yield os.path.join(config_root, _of_the_host())
    yield _lasting(environ, home)
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")


def own_path(environ: Mapping[str, str], home: str) -> str:
    """Where ashore keeps a login: of those, the one that outlasts a boot, as a host that follows tags needs it."""
    return environ.get("REGISTRY_AUTH_FILE") or _lasting(environ, home)


def _lasting(environ: Mapping[str, str], home: str) -> str:
    return os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")


def _of_the_host() -> str:
    """The one auth file that lies below the root, relative to it."""
    return f"run/containers/{os.getuid()}/auth.json"


def load(path: str, config_root: str) -> AuthFile | None:
    """What one of `paths` holds; None if it is not there.

    Raises:
        InputError: it cannot be read, or is no auth file.
    """
    try:
        if path == os.path.join(config_root, _of_the_host()):
            with Beneath(config_root) as host:
                data = read_if_there(host, _of_the_host(), _LARGEST)
        else:
            data = _plainly(path)
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=error.strerror or "") from error
    return None if data is None else _parsed(path, data)


def keep(path: str, key: str, user: str, password: str, *, instead: Callable[[str], bool]) -> None:
    """Write a login down under the name `key`, in place of the names that are `instead` of it.

    Raises:
        InputError: what lies there is no auth file.
        UnchangedError: it cannot be written.
    """
    auth = b64encode(f"{user}:{password}".encode()).decode()
    with _rewritten(path) as auths:
        for old in [name for name in auths if instead(name)]:
            del auths[old]
        auths[key] = {"auth": auth}


def forget(path: str, named: Callable[[str], bool]) -> bool:
    """Drop the logins whose names are `named`; False if there is none.

    Raises:
        InputError, UnchangedError: as `keep`.
    """
    file = load(path, "")
    if not file or not any(map(named, file.auths)):
        return False
    with _rewritten(path) as auths:
        for name in [name for name in auths if named(name)]:
            del auths[name]
    return True


@contextlib.contextmanager
def _rewritten(path: str) -> Iterator[dict[str, Any]]:
    """The logins of a file, to be changed: all else that it holds, whose it is and where it lies stays."""
    folder, name = os.path.split(os.path.realpath(path))
    with write_fault(printable(path)):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with closing(descriptor):
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # another login at the same time
        before = _status(path)
        data = _plainly(path) if before else b""
        _parsed(path, data or b"")
        document = msgspec.json.decode(data or b"{}")
        yield document.setdefault("auths", {})
        with write_fault(printable(path)), NewFile(folder, name, mode=_ONLY_HIS) as new:
            if before and before.st_uid != os.geteuid():
                os.fchown(new.descriptor, before.st_uid, before.st_gid)
            new.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
            new.commit()


def _status(path: str) -> os.stat_result | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=error.strerror or "") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{printable(path)} is not a file", remedy="name another one with REGISTRY_AUTH_FILE")
    return status


def _parsed(path: str, data: bytes) -> AuthFile:
    remedy = "it should be as `ashore login`, `podman login` or `docker login` writes it"
    if len(data) > _LARGEST:
        raise InputError(f"{printable(path)} is too large for an auth file", remedy=remedy)
    try:
        return msgspec.json.decode(data or b"{}", type=AuthFile)
    except NOT_DECODED as error:
        raise InputError(f"{printable(path)} is not an auth file", cause=_place(error, data), remedy=remedy) from None


def _place(error: Exception, data: bytes) -> str:
    """What is wrong, and where: neither of them names a value, which may be a secret."""
    try:
        strictjson.loads(data)
    except ValueError as told:
        return str(told)  # with its line
    return str(error)


def _plainly(path: str) -> bytes | None:
    """A file of the user, who may well name a pipe. None if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
