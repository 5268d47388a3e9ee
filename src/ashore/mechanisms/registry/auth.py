# SPDX-License-Identifier: Apache-2.0
"""The WWW-Authenticate dialogue: Basic, and Bearer with a token server (distribution-spec, "Authentication")."""

import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from urllib.parse import unquote_plus, urlencode

import msgspec

from ashore.errors import NOT_DECODED, RegistryError
from ashore.mechanisms.registry import urls
from ashore.mechanisms.registry.credentials import Credential
from ashore.mechanisms.registry.policy import TlsPolicy
from ashore.mechanisms.registry.urls import Url
from ashore.nouns.files import printable

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)(?!\s*=)\s*")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_LONGEST_HEADER = 16 * 1024
_BEARABLE = re.compile(r"[A-Za-z0-9._~+/=:|-]+")
_CLIENT = "ashore"


class Challenge(msgspec.Struct, frozen=True):
    """One challenge of a WWW-Authenticate header; scheme and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers (RFC 9110, 11.6.1). What is not understood is left out."""
    found: list[Challenge] = []
    for header in headers:
        text, at = header[:_LONGEST_HEADER], 0
        while scheme := _SCHEME.match(text, at):
            at = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(text, at):
                name, quoted, plain = parameter.groups()
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                parameters.setdefault(name.lower(), value)
                at = parameter.end()
            found.append(Challenge(scheme.group(1).lower(), parameters))
    return found


class TokenAnswer(msgspec.Struct):
    """What a token server sends; `expires_in` is seconds."""

    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


Fetch = Callable[[str, Url, Mapping[str, str], bytes], bytes]
"""Method, URL, headers, body -> the answer's body; raises RegistryError or retry.Again."""


class Authenticator:
    """The Authorization headers for one registry, remembered for each set of scopes."""

    def __init__(self, find: Callable[[str, str], Credential | None], fetch: Fetch, policy: TlsPolicy) -> None:
        self._find = find
        self._fetch = fetch
        self._policy = policy
        self._source = policy.source
        self._headers: dict[tuple[str, ...], tuple[str, float]] = {}
        self.used: Credential | None = None
        """The login that was said last."""
        self.withheld = ""
        """The token server that was asked without one, since it is not sure who would get it."""

    def header(self, scopes: tuple[str, ...]) -> str:
        """The header that worked before for `scopes`, or empty."""
        value, until = self._headers.get(scopes, ("", 0.0))
        return value if time.monotonic() < until else ""

    def answer(self, place: Url, headers: list[str], scopes: tuple[str, ...]) -> str:
        """The header that answers the challenges of a 401 of `place`; empty where there is nothing (more) to say.

        Raises:
            RegistryError: the token server is not one that may be asked, or refuses.
        """
        self._headers.pop(scopes, None)
        challenges = parse_challenges(headers)
        refused: RegistryError | None = None
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                try:
                    realm = self._realm(place, challenge.parameters["realm"])
                except RegistryError as error:
                    refused = refused or error  # the registry may take a password itself
                    continue
                value, seconds = self._bearer(place, realm, challenge.parameters.get("service", ""), scopes)
                self._headers[scopes] = (value, time.monotonic() + seconds)
                return value
        if any(challenge.scheme == "basic" for challenge in challenges):
            credential = self._own()
            if credential and credential.password:
                value = _basic(credential)
                self._headers[scopes] = (value, float("inf"))
                return value
        if refused:
            raise refused
        return ""

    def _bearer(self, place: Url, realm: Url, service: str, scopes: tuple[str, ...]) -> tuple[str, float]:
        credential = self._credential(place, realm)
        if credential and credential.token:
            form = {"grant_type": "refresh_token", "service": service, "client_id": _CLIENT}
            form |= {"scope": " ".join(scopes), "refresh_token": credential.token}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            data = self._fetch("POST", realm, headers, urlencode(form).encode())
        else:
            pairs = ([("service", service)] if service else []) + [("scope", scope) for scope in scopes]
            headers = {"Authorization": _basic(credential)} if credential else {}
            data = self._fetch("GET", realm.with_query(urlencode(pairs)), headers, b"")
        return _read_token(realm, data)

    def _realm(self, place: Url, text: str) -> Url:
        """The token server that the registry names, if it is one that may be asked at all."""
        try:
            realm = _without_scope(urls.parse(text))
        except ValueError as error:
            raise _refused(place, printable(text[:200]), str(error)) from None
        if realm.origin == place.origin:
            return realm
        if urls.is_inward(realm.host) and not urls.is_loopback(place.host):
            raise _refused(place, realm.bare, "it lies on this machine or link, the registry does not")
        if realm.scheme == "http" and (place.scheme == "https" or not self._policy.plain(realm)):
            raise _refused(place, realm.bare, "it is not https")
        return realm

    def _credential(self, place: Url, realm: Url) -> Credential | None:
        """The registry's own, as if it had asked for it itself; elsewhere only by https with a checked certificate.

        Nothing is ever looked up for the realm's host: the challenge chose it, and gets what the token opens.
        """
        if realm.origin != place.origin and not self._policy.verified(realm):
            self.withheld = realm.bare
            return None
        return self._own()

    def _own(self) -> Credential | None:
        self.used = self._find(self._source.host, self._source.repository)
        return self.used


def _without_scope(realm: Url) -> Url:
    """Without the scopes in a realm's own query: what a token is for, we say."""
    path, _, query = realm.target.partition("?")
    pairs = re.split("[&;]", query)
    kept = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]).lower() != "scope"]
    return realm if kept == pairs else msgspec.structs.replace(realm, target=path).with_query("&".join(kept))


def _refused(place: Url, realm: str, cause: str) -> RegistryError:
    return RegistryError(
        f"{place.host_port} names a token server that ashore does not ask: {realm}",
        cause=cause,
        remedy="the registry's WWW-Authenticate header should name an https URL",
    )


def _read_token(realm: Url, data: bytes) -> tuple[str, float]:
    try:
        answer = msgspec.json.decode(data, type=TokenAnswer)
    except NOT_DECODED:
        answer = TokenAnswer()
    token = answer.token or answer.access_token
    if not _BEARABLE.fullmatch(token):
        raise RegistryError(f"the token server {realm.bare} did not answer with a token")
    seconds = answer.expires_in or 60.0
    return f"Bearer {token}", max(min(seconds, 3600.0) - 10.0, 5.0)


def _basic(credential: Credential) -> str:
    return "Basic " + b64encode(f"{credential.user}:{credential.password}".encode()).decode()
