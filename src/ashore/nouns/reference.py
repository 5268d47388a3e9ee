# SPDX-License-Identifier: Apache-2.0
"""What a user names: an image somewhere, by skopeo's transports."""

import re
from enum import StrEnum

import msgspec

from ashore.errors import InputError
from ashore.nouns.digest import Digest
from ashore.nouns.digest import parse as parse_digest

DEFAULT_REGISTRY = "docker.io"
_OLD_REGISTRY = "index.docker.io"
DEFAULT_TAG = "latest"

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_LAST_PORT = 65535


class Transport(StrEnum):
    """Where an image lies (containers-transports(5), as far as ashore reads them)."""

    REGISTRY = "docker"
    LAYOUT = "oci"
    ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """A name of an image, parsed once and not checked again.

    For a registry `place` is its host and port and `repository` is set; for the others `place` is a
    path and `repository` is empty. `tag` may be empty: the only image of a layout or archive.
    """

    transport: Transport
    place: str
    repository: str = ""
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        pin = f"@{self.digest}" if self.digest else ""
        tag = f":{self.tag}" if self.tag else ""
        if self.transport is Transport.REGISTRY:
            return f"{self.place}/{self.repository}{tag}{pin}"
        return f"{self.transport}:{self.place}{tag}{pin}"

    def pinned(self, digest: Digest) -> "ImageReference":
        """The same name, fixed to `digest`."""
        return msgspec.structs.replace(self, digest=digest)


def with_today_s_host(name: str) -> str:
    """A registry's name, or a prefix of one, with ``docker.io`` for the host that Docker Hub had once."""
    host, slash, rest = name.partition("/")
    return f"{DEFAULT_REGISTRY if host == _OLD_REGISTRY else host}{slash}{rest}"


def parse(text: str) -> ImageReference:
    """Read ``[TRANSPORT:]NAME``; without a transport it is a registry's name.

    Sources: containers-transports(5); OCI distribution-spec, "Pulling manifests" (grammar of names
    and tags); Docker's rule that a first part without a dot, a colon or ``localhost`` is no host.

    Raises:
        InputError: the text is not a name; the message quotes it and says which part is wrong.
    """
    if text.startswith("docker://"):
        return _registry(text, text.removeprefix("docker://"))
    head, colon, rest = text.partition(":")
    if colon and head in {t.value for t in Transport if t is not Transport.REGISTRY}:
        return _local(Transport(head), text, rest)
    if "://" in text:
        raise _wrong(text, "unknown transport", "use docker://, oci:, oci-archive: or docker-archive:")
    if text.startswith(("/", "./", "../")):
        raise _wrong(text, "a path by itself is none", f"write oci:{text[:200]} for a folder in the OCI layout")
    return _registry(text, text)


def parse_name(text: str) -> tuple[ImageReference, bool]:
    """A registry's name, and whether its tag or digest was written: one that is added here is nobody's word.

    Raises:
        InputError: as `parse`.
    """
    return parse(f"docker://{text}"), "@" in text or ":" in text.rpartition("/")[2]


def is_location(text: str) -> bool:
    """Whether it is ``HOST[:PORT][/PATH]``: what registries.conf calls a location."""
    host, slash, path = text.partition("/")
    if not _HOST.fullmatch(host) or not 0 < _port(host) <= _LAST_PORT:
        return False
    return not slash or bool(_REPOSITORY.fullmatch(path))


class RegistryPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A registry, ``reg.example:5000``, or the repositories below a `path` of it: what one logs in to."""

    host: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" if self.path else self.host


def parse_registry(text: str) -> RegistryPlace:
    """Read ``HOST[:PORT][/PATH]``, as references have it.

    Raises:
        InputError: no reference can have it so.
    """
    host, _, path = with_today_s_host(text).partition("/")
    what = f"not a registry's name: {text[:200]!r}"
    if "://" in text:
        raise InputError(what, remedy="write it as in an image's name, without ://")
    if not is_location(with_today_s_host(text)):
        raise InputError(what, remedy="write HOST, HOST:PORT or HOST/PATH, without a tag")
    if not is_host(host):
        raise InputError(
            what, cause="names of images take it for a part of Docker Hub", remedy=f"for Docker Hub: {DEFAULT_REGISTRY}"
        )
    return RegistryPlace(host=host, path=path)


def is_host(first: str) -> bool:
    """Whether the first part of a name is a host: Docker's rule, a dot, a colon, or ``localhost``."""
    return "." in first or ":" in first or first == "localhost"


def _port(host: str) -> int:
    return int(host.rpartition(":")[2]) if not host.endswith("]") and ":" in host else 443


def _local(transport: Transport, text: str, rest: str) -> ImageReference:
    rest, _, pin = rest.partition("@sha256:")
    path, _, tag = rest.partition(":")  # what follows may be a whole name: podman save writes oci-archive:FILE:NAME:TAG
    if not path:
        raise _wrong(text, "the path is missing", f"write {transport}:PATH or {transport}:PATH:TAG")
    digest = parse_digest("sha256:" + pin) if pin else None
    return ImageReference(transport=transport, place=path, tag=tag, digest=digest)


def _registry(text: str, rest: str) -> ImageReference:
    name, at, pin = rest.partition("@")
    digest = parse_digest(pin) if at else None
    name = with_today_s_host(name)
    first, slash, remainder = name.partition("/")
    if slash and is_host(first):
        host = first
    else:
        host, remainder = DEFAULT_REGISTRY, name
    repository, colon, tag = remainder.partition(":")
    if host == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    if not _HOST.fullmatch(host):
        raise _wrong(text, f"{host!r} is not a registry's host and port")
    port = _port(host)
    if not 0 < port <= _LAST_PORT:
        raise _wrong(text, f"there is no port {port}")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
        raise _wrong(text, f"{repository!r} is not a repository", "lower-case letters, digits, . _ - and /")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag", "at most 128 letters, digits, . _ and -")
    if not tag and not digest:
        tag = DEFAULT_TAG
    return ImageReference(transport=Transport.REGISTRY, place=host, repository=repository, tag=tag, digest=digest)


def _wrong(text: str, cause: str, remedy: str = "") -> InputError:
    return InputError(f"not an image reference: {text[:200]!r}", cause=cause, remedy=remedy)
