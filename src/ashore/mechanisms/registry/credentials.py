# SPDX-License-Identifier: Apache-2.0
"""Who we are to a registry: containers-auth.json(5), Docker's config.json, credential helpers."""

import binascii
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

from ashore.errors import NOT_DECODED, AshoreError, InputError, RegistryError
from ashore.mechanisms.registry.authfiles import NO_LOGIN, Auth, AuthFile, load, paths
from ashore.nouns.files import printable

IN_FILES = "containers-auth.json"
"""The helper name that stands for the auth files (containers-registries.conf(5), ``credential-helpers``)."""
_DOCKER_IO = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DOCKER_KEY = "https://index.docker.io/v1/"
_NO_LOGINS = ("/access-token", "/refresh-token")
"""Ends of the keys of what Docker's login in the browser gave, which is no password."""
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FOR_HELPERS = re.compile(
    r"(AWS|AZURE|GOOGLE|CLOUDSDK|GCLOUD|DOCKER|DBUS|XDG|PASSWORD_STORE|GNUPG|SSH|HTTPS?|NO)_.*|GNUPGHOME|HOME|LANG"
    r"|(https?|no)_proxy"
)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A user and password, or an identity token (`token`), and the file or helper that it came from.

    `path`: the part of the registry that its name in the file is for.
    """

    user: str = ""
    password: str = ""
    token: str = ""
    source: str = ""
    path: str = ""

    def __repr__(self) -> str:
        return f"Credential(source={self.source!r})"


class _Answer(msgspec.Struct):
    username: str = msgspec.field(name="Username", default="")
    secret: str = msgspec.field(name="Secret", default="")


class Credentials(Protocol):
    """Who knows what to say to a registry."""

    @property
    def looked_at(self) -> str:
        """Where that comes from, for messages."""
        ...

    def find(self, host: str, repository: str = "") -> Credential | None: ...


class CredentialStore:
    """Looks credentials up, most specific name first, first source first. Files are read when first needed."""

    def __init__(
        self,
        config_root: str,
        environ: Mapping[str, str],
        home: str,
        *,
        helpers: tuple[str, ...] = (IN_FILES,),
        helper_seconds: float = 30.0,
    ) -> None:
        self._environ = environ
        self._helpers = helpers
        self._seconds = helper_seconds
        self._config_root = config_root
        self._paths = list(paths(config_root, environ, home))
        self._files: dict[str, AuthFile | None] = {}

    @property
    def looked_at(self) -> str:
        """The sources, for messages: files that exist, else where one would be written."""
        there = [path for path in self._paths if os.path.exists(path)]
        return ", ".join(printable(path) for path in there or self._paths[:1])

    @property
    def in_files(self) -> bool:
        """Whether auth files are among the sources."""
        return IN_FILES in self._helpers

    def find(self, host: str, repository: str = "") -> Credential | None:
        """The credential for a repository of `host` (``host`` or ``host:port``).

        Raises:
            InputError: an auth file cannot be understood.
            RegistryError: a credential helper failed.
        """
        for helper in self._helpers:
            found = self._in_files(host, repository) if helper == IN_FILES else self._ask(helper, host)
            if found:
                return found
        return None

    def _in_files(self, host: str, repository: str) -> Credential | None:
        for path in self._paths:
            file = self._read(path)
            found = self._in_file(file, path, host, repository) if file else None
            if found:
                return found
        return None

    def check_until(self, path: str) -> None:
        """See that the file at `path`, and those that are looked into before it, can be read; no helper is asked.

        Raises:
            InputError: one of them is no auth file.
        """
        for one in self._paths[: self._paths.index(path) + 1]:
            self._read(one)

    def helper(self, path: str, host: str) -> str:
        """The helper to which the file at `path` leaves the logins of `host`, or nothing.

        Raises:
            InputError: it is no auth file.
        """
        file = self._read(path)
        return _left_to(file, host) if file else ""

    def _in_file(self, file: AuthFile, path: str, host: str, repository: str) -> Credential | None:
        if helper := _helper_of(file, host):
            return self._ask(helper, host)
        for auths in (file.auths, _plainly_named(file.auths)):
            for key in _names(_aliases(host), repository):
                if key in auths and (found := _decode(auths[key], path, key)):
                    return found
        return self._ask(store, host) if (store := _left_to(file, host)) else None

    def _read(self, path: str) -> AuthFile | None:
        if path not in self._files:
            self._files[path] = load(path, self._config_root)
        return self._files[path]

    def _ask(self, helper: str, host: str) -> Credential | None:
        """Docker's helper protocol: the server's name on stdin, JSON on stdout."""
        if not _HELPER.fullmatch(helper):
            raise InputError(f"{printable(helper)!r} is not a credential helper's name")
        from ashore.mechanisms import process

        program = f"docker-credential-{helper}"
        address = _DOCKER_KEY if host in _DOCKER_IO else host
        passed = {name: value for name, value in self._environ.items() if _FOR_HELPERS.fullmatch(name)}
        try:
            done = process.run([program, "get"], stdin=address.encode(), seconds=self._seconds, env=passed, check=False)
        except AshoreError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            remedy = f"install {program}" if missing else f"see what it does: echo {address} | {program} get"
            raise RegistryError(error.message, cause=error.cause, remedy=remedy) from error
        if done.code != 0:
            said = done.stdout.decode(errors="replace").strip() or done.stderr
            if "not found" in said.lower() or not said:
                return None
            raise RegistryError(f"{program} gave no credential for {host}", cause=printable(said[:300]))
        try:
            answer = msgspec.json.decode(done.stdout, type=_Answer)
        except NOT_DECODED:
            # Its output is a secret: nothing of it is shown.
            raise RegistryError(f"{program} did not answer with JSON") from None
        if answer.username == "<token>":
            return Credential(token=answer.secret, source=program)
        return Credential(user=answer.username, password=answer.secret, source=program) if answer.secret else None


def is_login_of(key: str, host: str, repository: str = "") -> bool:
    """Whether a login under the name `key` is that of a registry, in any spelling, or of just this part of it."""
    return is_name_of(key, host, repository) or (not repository and _plain(key) in _aliases(host))


def is_name_of(key: str, host: str, repository: str = "") -> bool:
    """Whether `key` is the name of a registry, or of just this part of it, as podman and ashore write it."""
    return key in {f"{alias}/{repository}" if repository else alias for alias in _aliases(host)}


def _aliases(host: str) -> tuple[str, ...]:
    return _DOCKER_IO if host in _DOCKER_IO else (host,)


def _left_to(file: AuthFile, host: str) -> str:
    """The helper that has the logins of `host`; an empty one of its own says that the file has them, as for docker."""
    own = _helper_of(file, host)
    return file.creds_store if own is None else own


def _helper_of(file: AuthFile, host: str) -> str | None:
    names = (*_aliases(host), _DOCKER_KEY) if host in _DOCKER_IO else (host,)
    return next((file.cred_helpers[name] for name in names if name in file.cred_helpers), None)


def _names(aliases: tuple[str, ...], repository: str) -> Iterator[str]:
    parts = repository.split("/") if repository else []
    for count in range(len(parts), -1, -1):
        for host in aliases:
            yield "/".join([host, *parts[:count]])


def _plainly_named(auths: Mapping[str, Auth]) -> Mapping[str, Auth]:
    """By the names that others write; of several spellings of one, the first that has a login."""
    found: dict[str, Auth] = {}
    for key, value in auths.items():
        if value != NO_LOGIN and not key.endswith(_NO_LOGINS):
            found.setdefault(_plain(key), value)
    return found


def _plain(key: str) -> str:
    """Docker writes ``https://host/v1/`` where the others write ``host``; ``host/v1`` is a namespace."""
    if key.startswith(("https://", "http://")):
        return key.partition("://")[2].partition("/")[0]
    return re.sub(r"/v[12]/$", "", key)


def _decode(entry: Auth, path: str, key: str) -> Credential | None:
    user, password = entry.username, entry.password
    if entry.auth:
        try:
            text = b64decode(entry.auth, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            text = ""
        user, colon, password = text.partition(":")
        if not colon:
            where = f"{printable(path)}: auths.{printable(key)}"
            raise InputError(f"{where}: auth is not base64 of USER:PASSWORD", remedy="log in again")
    if not (password or entry.identitytoken):
        return None
    part = key.partition("/")[2]
    return Credential(user=user, password=password, token=entry.identitytoken, source=path, path=part)
