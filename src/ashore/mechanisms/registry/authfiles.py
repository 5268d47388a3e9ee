# SPDX-License-Identifier: Apache-2.0
"""The files that logins are kept in (containers-auth.json(5), Docker's config.json): where they lie, what they say."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ashore.errors import NOT_DECODED, InputError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.ifthere import read_if_there
from ashore.nouns import strictjson
from ashore.nouns.files import printable

LARGEST = 1024 * 1024
"""Bytes of an auth file."""
_AS_OTHERS = "it should be as `ashore login`, `podman login` or `docker login` writes it"


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
                data = read_if_there(host, _of_the_host(), LARGEST)
        else:
            data = _plainly(path)
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=error.strerror or "") from error
    return None if data is None else _parsed(path, data)


def everything(path: str) -> dict[str, Any]:
    """All of an auth file that is there, to be written again.

    Raises:
        InputError: as `load`.
    """
    try:
        data = _plainly(path) or b""
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=error.strerror or "") from error
    _parsed(path, data)
    with _understood(path, data):
        found: dict[str, Any] = msgspec.json.decode(data or b"{}")
        return found


def _parsed(path: str, data: bytes) -> AuthFile:
    if len(data) > LARGEST:
        raise InputError(f"{printable(path)} is too large for an auth file", remedy=_AS_OTHERS)
    with _understood(path, data):
        return msgspec.json.decode(data or b"{}", type=AuthFile)


@contextlib.contextmanager
def _understood(path: str, data: bytes) -> Iterator[None]:
    try:
        yield
    except NOT_DECODED as error:
        cause = _place(error, data)
        raise InputError(f"{printable(path)} is not an auth file", cause=cause, remedy=_AS_OTHERS) from None


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
            return file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
