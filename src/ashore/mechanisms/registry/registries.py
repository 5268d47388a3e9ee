# SPDX-License-Identifier: Apache-2.0
"""containers-registries.conf(5), version 2: from the name of an image to the places that have it."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ashore.errors import BlockedError, InputError, Issue, words_of
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.ifthere import listdir_if_there, read_if_there
from ashore.mechanisms.registry import urls
from ashore.mechanisms.registry.credentials import IN_FILES
from ashore.nouns.files import printable
from ashore.nouns.reference import ImageReference, RegistryPlace, with_today_s_host

CONF = "etc/containers/registries.conf"
CONF_FOLDER = "etc/containers/registries.conf.d"
_LARGEST = 1024 * 1024
_PART = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
"""Of a path as msgspec writes it: ``$.registry[0].insecure``."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A repository at one registry. `host` is as the user or the file wrote it: ``reg.example:5000``."""

    host: str
    repository: str
    insecure: bool = False
    """Certificates are not checked, and plain http is used where https is not spoken."""
    digest_only: bool = False
    """A mirror that is asked for nothing by a tag."""


class _Mirror(msgspec.Struct, frozen=True, rename="kebab"):
    location: str
    insecure: bool = False
    pull_from_mirror: Literal["all", "digest-only", "tag-only", ""] = "all"


class _Registry(msgspec.Struct, frozen=True, rename="kebab"):
    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror: tuple[_Mirror, ...] = ()
    mirror_by_digest_only: bool = False

    @property
    def name(self) -> str:
        return self.prefix or self.location


class _File(msgspec.Struct, rename="kebab"):
    registry: tuple[_Registry, ...] = ()
    credential_helpers: tuple[str, ...] | None = None
    registries: object = None
    """Version 1."""


class Registries(msgspec.Struct, frozen=True, kw_only=True):
    """All of a host's registries.conf files, the later ones over the earlier."""

    entries: tuple[_Registry, ...] = ()
    helpers: tuple[str, ...] = (IN_FILES,)

    def sources(self, reference: ImageReference, *, push: bool = False) -> tuple[Source, ...]:
        """Where to ask for `reference`, best first: its mirrors, then itself. Pushes go to itself.

        Raises:
            BlockedError: the configuration blocks it.
            InputError: the configuration rewrites it to something that is no repository.
        """
        name = f"{reference.place}/{reference.repository}"
        entry, rest, pin = self._entry(name, _pins(reference))
        if entry is None:
            return (Source(host=reference.place, repository=reference.repository),)
        _refuse_blocked(entry, reference.place)
        location = entry.location or (name.removesuffix(rest) if entry.prefix else "")
        mirrors = [] if push else [m for m in entry.mirror if _serves(m, entry, reference)]
        sources = [
            _source(m.location.removesuffix(pin) + rest, m.insecure, digest_only=_digest_only(m, entry))
            for m in mirrors
        ]
        return (*sources, _source(location.removesuffix(pin) + rest, entry.insecure))

    def insecure(self, host_port: str) -> bool:
        """Whether a whole host, as such, is marked insecure."""
        return any(at.insecure and at.location == host_port for at in self._locations())

    def itself(self, place: RegistryPlace) -> Source:
        """The registry of `place`, to be asked about itself; insecure as the most specific location that has it.

        Raises:
            BlockedError: the configuration blocks it.
        """
        name = str(place)
        entry, _, _ = self._entry(name, ())
        if entry:
            _refuse_blocked(entry, name)
        covering = [at for at in self._locations() if _rest(name, at.location) is not None]
        longest = max((len(at.location) for at in covering), default=0)
        insecure = bool(covering) and all(at.insecure for at in covering if len(at.location) == longest)
        return Source(host=place.host, repository="", insecure=insecure)

    def _locations(self) -> Iterator[_Mirror]:
        for entry in self.entries:
            yield _Mirror(entry.location or entry.prefix, entry.insecure)
            yield from entry.mirror

    def _entry(self, name: str, pins: tuple[str, ...]) -> tuple[_Registry | None, str, str]:
        """The entry with the longest prefix of `name`, what of the name is left, and which of `pins` it names too."""
        matches = [
            (len(entry.name), entry, rest, pin)
            for entry in self.entries
            for pin in ("", *pins)
            if (rest := _rest(name + pin, entry.name)) is not None and not (pin and rest)
        ]
        if not matches:
            return None, name, ""
        _, entry, rest, pin = max(matches, key=lambda match: match[0])
        return entry, rest, pin


def load(config_root: str) -> Registries:
    """Read registries.conf and registries.conf.d below `config_root`; missing ones are empty.

    Raises:
        InputError: files that cannot be understood, all of them at once.
    """
    entries: dict[str, _Registry] = {}
    helpers: tuple[str, ...] = (IN_FILES,)
    issues: list[Issue] = []
    with Beneath(config_root) as host:
        for path in _files(host, issues):
            try:
                file = _read(host, path)
            except OSError as error:
                issues.append(_unread(path, error))
                continue
            except ValueError as error:
                issues += _misread(host, path, error)
                continue
            issues += _problems(file, path)
            entries |= {entry.name: entry for entry in file.registry}
            helpers = file.credential_helpers if file.credential_helpers is not None else helpers
    if issues:
        raise InputError("the registries' configuration cannot be used", issues=issues)
    return Registries(entries=tuple(entries.values()), helpers=helpers)


def _files(host: Beneath, issues: list[Issue]) -> Iterator[str]:
    yield CONF
    try:
        names = listdir_if_there(host, CONF_FOLDER) or []
    except OSError as error:
        issues.append(_unread(CONF_FOLDER, error))
        return
    yield from (f"{CONF_FOLDER}/{name}" for name in names if name.endswith(".conf"))


def _unread(path: str, error: OSError) -> Issue:
    return Issue(where=path, message=printable(words_of(error)))


def _misread(host: Beneath, path: str, error: ValueError) -> Sequence[Issue]:
    """What is wrong with a file that cannot be understood, and in which line: right ones are read without lines."""
    from ashore.nouns import toml

    try:
        document = toml.parse(read_if_there(host, path, _LARGEST) or b"", path)
    except InputError as malformed:
        return malformed.issues
    message, _, at = str(error).partition(" - at `$")
    key = tuple(int(number) if number else name for name, number in _PART.findall(at.rstrip("`")))
    named = f"{key[-1]}: {message}" if key else message
    return [Issue(where=document.place(key), message=printable(named), remedy="man 5 containers-registries.conf")]


def _read(host: Beneath, path: str) -> _File:
    import tomllib

    data = read_if_there(host, path, _LARGEST) or b""
    file = msgspec.convert(tomllib.loads(data.decode()), _File)
    file.registry = tuple(_tidied(entry) for entry in file.registry)
    return file


def _tidied(entry: _Registry) -> _Registry:
    """Names as references have them: without slashes at the end, and Docker Hub by one name."""
    mirrors = tuple(msgspec.structs.replace(m, location=_tidy(m.location)) for m in entry.mirror)
    location = _tidy(entry.location)
    return msgspec.structs.replace(entry, prefix=_tidy(entry.prefix), location=location, mirror=mirrors)


def _tidy(name: str) -> str:
    return with_today_s_host(name.rstrip("/"))


def _problems(file: _File, path: str) -> Iterator[Issue]:
    if file.registries is not None:
        remedy = 'write [[registry]] tables with prefix = "..." (containers-registries.conf(5))'
        yield Issue(where=path, message="version 1 of the format is not read", remedy=remedy)
    for entry in file.registry:
        if not entry.name:
            yield Issue(where=path, message="a [[registry]] without prefix and location")
        elif entry.prefix.startswith("*.") and entry.location:
            continue
        elif "://" in entry.name + entry.location or any("://" in m.location for m in entry.mirror):
            yield Issue(where=path, message=f"{printable(entry.name)}: a location is HOST[:PORT][/PATH], not a URL")


def _refuse_blocked(entry: _Registry, name: str) -> None:
    if entry.blocked:
        cause, remedy = f"blocked = true in {CONF}", "ask whoever keeps that file"
        raise BlockedError(f"{name} is blocked", cause=cause, remedy=remedy)


def _pins(reference: ImageReference) -> tuple[str, ...]:
    """What a prefix may have after the repository."""
    tag = (f":{reference.tag}",) if reference.tag else ()
    return (*tag, f"@{reference.digest}") if reference.digest else tag


def _rest(name: str, prefix: str) -> str | None:
    """What follows `prefix` in `name`; None if it is not a prefix, at the border of a part.

    A ``*.`` prefix without port and path leaves the name's port, too.
    """
    if prefix.startswith("*."):
        host, slash, path = name.partition("/")
        domain, _, deeper = prefix[1:].partition("/")
        bare, colon, port = (host, "", "") if ":" in domain else host.partition(":")
        if not bare.endswith(domain):
            return None
        if not deeper:
            return colon + port + slash + path
        name, prefix = path, deeper
    rest = name[len(prefix) :]
    return rest if name.startswith(prefix) and rest[:1] in {"", "/"} else None


def _digest_only(mirror: _Mirror, entry: _Registry) -> bool:
    return entry.mirror_by_digest_only or mirror.pull_from_mirror == "digest-only"


def _serves(mirror: _Mirror, entry: _Registry, reference: ImageReference) -> bool:
    if _digest_only(mirror, entry):
        return reference.digest is not None
    return mirror.pull_from_mirror != "tag-only" or reference.digest is None


def _source(name: str, insecure: bool, *, digest_only: bool = False) -> Source:
    host, _, repository = name.partition("/")
    try:
        urls.parse(f"https://{host}")
        if not repository or ":" in repository or "@" in repository:
            raise ValueError("that is no repository")
    except ValueError as error:
        raise InputError(f"{CONF} leads to {printable(name)}", cause=str(error)) from None
    return Source(host=host, repository=repository, insecure=insecure, digest_only=digest_only)
