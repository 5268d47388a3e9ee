# SPDX-License-Identifier: Apache-2.0
"""Who we are to a registry: containers-auth.json(5), Docker's config.json, credential helpers."""

import binascii
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping

import msgspec

from ashore.errors import NOT_DECODED, AshoreError, InputError, RegistryError
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.ifthere import read_if_there
from ashore.nouns import strictjson
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
_LARGEST = 1024 * 1024


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A user and password, or an identity token (`token`), and the file or helper that it came from."""

    user: str = ""
    password: str = ""
    token: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"Credential(source={self.source!r})"


class _Auth(msgspec.Struct, rename="lower"):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


_NO_LOGIN = _Auth()
"""What docker leaves in the file where a helper keeps the login."""


class _AuthFile(msgspec.Struct, rename="camel"):
    auths: dict[str, _Auth] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


class _Answer(msgspec.Struct):
    username: str = msgspec.field(name="Username", default="")
    secret: str = msgspec.field(name="Secret", default="")


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
        self._paths = list(_paths(config_root, environ, home))
        self._files: dict[str, _AuthFile | None] = {}

    @property
    def looked_at(self) -> str:
        """The sources, for messages: files that exist, else where one would be written."""
        there = [path for path in self._paths if os.path.exists(path)]
        return ", ".join(printable(path) for path in there or self._paths[:1])

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

    def _in_file(self, file: _AuthFile, path: str, host: str, repository: str) -> Credential | None:
        aliases = _DOCKER_IO if host in _DOCKER_IO else (host,)
        for name in (*aliases, _DOCKER_KEY):
            if name in file.cred_helpers and (name != _DOCKER_KEY or host in _DOCKER_IO):
                return self._ask(file.cred_helpers[name], host)
        for auths in (file.auths, _plainly_named(file.auths)):
            for key in _names(aliases, repository):
                if key in auths and (found := _decode(auths[key], path, key)):
                    return found
        return self._ask(file.creds_store, host) if file.creds_store else None

    def _read(self, path: str) -> _AuthFile | None:
        if path not in self._files:
            self._files[path] = _load(path, self._config_root)
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


def _paths(config_root: str, environ: Mapping[str, str], home: str) -> Iterator[str]:
    """The auth files in the order of containers-auth.json(5); Docker's last."""
    if chosen := environ.get("REGISTRY_AUTH_FILE"):
        yield chosen
        return
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    # Where `podman login` writes when there is no session, as for root on a server.
    yield os.path.join(config_root, _of_the_host())
    yield os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")


def _of_the_host() -> str:
    """The one auth file that lies below the root, relative to it."""
    return f"run/containers/{os.getuid()}/auth.json"


def _load(path: str, config_root: str) -> _AuthFile | None:
    try:
        if path == os.path.join(config_root, _of_the_host()):
            with Beneath(config_root) as host:
                data = read_if_there(host, _of_the_host(), _LARGEST)
        else:
            data = _plainly(path)
    except OSError as error:
        raise InputError(f"cannot read {printable(path)}", cause=error.strerror or "") from error
    if data is None:
        return None
    remedy = "it should be as `podman login` or `docker login` writes it"
    if len(data) > _LARGEST:
        raise InputError(f"{printable(path)} is too large for an auth file", remedy=remedy)
    try:
        return msgspec.json.decode(data or b"{}", type=_AuthFile)
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


def _names(aliases: tuple[str, ...], repository: str) -> Iterator[str]:
    parts = repository.split("/") if repository else []
    for count in range(len(parts), -1, -1):
        for host in aliases:
            yield "/".join([host, *parts[:count]])


def _plainly_named(auths: Mapping[str, _Auth]) -> Mapping[str, _Auth]:
    """By the names that others write; of several spellings of one, the first that has a login."""
    found: dict[str, _Auth] = {}
    for key, value in auths.items():
        if value != _NO_LOGIN and not key.endswith(_NO_LOGINS):
            found.setdefault(_plain(key), value)
    return found


def _plain(key: str) -> str:
    """Docker writes ``https://host/v1/`` where the others write ``host``."""
    if "://" in key:
        return key.partition("://")[2].partition("/")[0]
    return re.sub(r"/v[12]/?$", "", key)


def _decode(entry: _Auth, path: str, key: str) -> Credential | None:
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
    return Credential(user=user, password=password, token=entry.identitytoken, source=path)
