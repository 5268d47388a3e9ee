# SPDX-License-Identifier: Apache-2.0
"""Questions to one registry: its scheme found out, who we are said, redirects followed, failures repeated."""

import copy
import time
from collections.abc import Mapping

import msgspec

from ashore.errors import RegistryError
from ashore.mechanisms.registry import failures, retry, urls
from ashore.mechanisms.registry.auth import Authenticator
from ashore.mechanisms.registry.credentials import Credentials
from ashore.mechanisms.registry.messages import Body, Fault, Request, Response
from ashore.mechanisms.registry.policy import TlsPolicy
from ashore.mechanisms.registry.transport import Transport
from ashore.mechanisms.registry.urls import Url
from ashore.nouns.limits import Limits

_API_HOSTS = {"docker.io": "registry-1.docker.io"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_IN_CIRCLES = "ask who runs it: its addresses lead in circles"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One question. `path` is below ``/v2/REPOSITORY/``, or a whole URL that the registry gave us.

    `what` says it in words, for errors: ``pull reg/worker:1``. `expect` are the answers that the caller
    deals with; all others are raised. `repeat`: whether asking twice does no harm.
    """

    method: str
    path: str | Url
    what: str
    expect: tuple[int, ...]
    headers: Mapping[str, str] = {}
    body: Body = b""
    length: int | None = None
    also: tuple[str, ...] = ()
    """Further scopes."""
    document: bool = False
    repeat: bool = True


class Session:
    """The dialogue with the source of `policy`, for pulling or also for pushing; without a repository, about itself."""

    def __init__(
        self,
        policy: TlsPolicy,
        *,
        transport: Transport,
        store: Credentials,
        limits: Limits,
        retries: retry.Retry,
        push: bool,
        name: str = "",
    ) -> None:
        """`name` is the registry as the user wrote it, if that is not the source's."""
        self.source = source = policy.source
        self.retries = retries
        self._name = name or source.host
        self.at = f" at {source.host}" if self._name != source.host else ""
        """Where that is, for messages which name it as the user wrote it."""
        self._transport = transport
        self._store = store
        self._limits = limits
        self._policy = policy
        self._scheme = "https"
        self._host = _API_HOSTS.get(source.host, source.host)
        self._path = f"/v2/{source.repository}/" if source.repository else "/v2/"
        scope = f"repository:{source.repository}:{'pull,push' if push else 'pull'}"
        self._scopes = (scope,) if source.repository else ()
        self._authenticator = Authenticator(store.find, self._fetch, policy)

    @property
    def withheld(self) -> str:
        """The token server that was not told who we are; empty if that was none."""
        return self._authenticator.withheld

    def once(self) -> "Session":
        """The same one, which does not try again what failed."""
        made = copy.copy(self)
        made.retries = msgspec.structs.replace(self.retries, attempts=0)
        return made

    def call(self, call: Call) -> Response:
        """Ask, and return an answer whose status is in `call.expect`.

        Raises:
            RegistryError: there is no such answer; `failures` has the kinds.
        """
        if not call.repeat:
            try:
                return self.attempt(call)
            except retry.Again as again:
                raise again.error from again
        return self.retries.run(lambda: self.attempt(call))

    def attempt(self, call: Call) -> Response:
        """Ask once (and once more with a new token).

        Raises:
            retry.Again: it failed in a way that may pass.
        """
        scopes = (*self._scopes, *call.also)
        header = self._authenticator.header(scopes)
        response = self._follow(call, header)
        if response.status == 401 and response.url.origin == self._url("").origin:
            asked = response.headers("WWW-Authenticate")
            answer = self._authenticator.answer(response.url, asked, scopes)
            if answer and answer != header and isinstance(call.body, bytes):
                response.close()
                response = self._follow(call, answer)
        if response.status in call.expect:
            return response
        raise self._failure(response, call.what if self.at in call.what else call.what + self.at)

    def ask_ahead(self, call: Call) -> None:
        """Send a GET of this registry now, if that is free; `call` reads the answer."""
        if isinstance(call.path, str):
            url, authorization = self._url(call.path), self._authenticator.header((*self._scopes, *call.also))
            headers = {**call.headers, **({"Authorization": authorization} if authorization else {})}
            request = Request(method=call.method, url=url, headers=headers, document=call.document)
            self._transport.ask_ahead(request, verify=not self._policy.insecure(url))

    def fault(self, fault: Fault) -> Exception:
        """What to raise for a fault: `retry.Again` where another attempt may help."""
        error = failures.of_fault(fault, self._name)
        return retry.Again(error) if fault.kind in retry.FAULTS else error

    def located(self, response: Response, what: str) -> Url:
        """Where an answer's ``Location`` leads; never from https to http.

        Raises:
            RegistryError: nowhere ashore would go.
        """
        try:
            location = response.header("Location")
            if not location:
                raise ValueError("its answer has no Location")
            url = urls.join(response.url, location)
        except ValueError as error:
            raise RegistryError(f"cannot {what}: the registry points nowhere", cause=str(error)) from None
        if response.url.scheme == "https" and url.scheme == "http":
            remedy = "a registry behind a TLS proxy must know its outer address (X-Forwarded-Proto, http.host)"
            raise RegistryError(f"cannot {what}: redirected from https to http ({url.bare})", remedy=remedy)
        if urls.is_inward(url.host) and not urls.is_loopback(response.url.host):
            raise RegistryError(f"cannot {what}: redirected into this machine or link ({url.bare})")
        return url

    def _follow(self, call: Call, authorization: str) -> Response:
        """Ask, and follow redirects of GET and HEAD. Authorization is for the registry's own origin alone."""
        url = call.path if isinstance(call.path, Url) else self._url(call.path)
        for _ in range(self._limits.redirects + 1):
            headers = dict(call.headers)
            if url.origin != self._url("").origin:
                authorization = ""  # and it stays away, should the way lead back
            if authorization:
                headers["Authorization"] = authorization
            response = self._send(call, url, headers)
            url = response.url
            if response.status not in _REDIRECTS or call.method not in {"GET", "HEAD"}:
                return response
            response.close()
            url = self.located(response, call.what)
        raise RegistryError(f"cannot {call.what}: more than {self._limits.redirects} redirects", remedy=_IN_CIRCLES)

    def _send(self, call: Call, url: Url, headers: Mapping[str, str]) -> Response:
        request = Request(
            method=call.method, url=url, headers=headers, body=call.body, length=call.length, document=call.document
        )
        try:
            maybe_plain = self._policy.plain(url)
            return self._transport.send(request, verify=not self._policy.insecure(url), maybe_plain=maybe_plain)
        except Fault as fault:
            if not self._speaks_plain(fault):
                raise self.fault(fault) from fault
        self._scheme = "http"
        return self._send(call, self._url(call.path) if isinstance(call.path, str) else url, headers)

    def _speaks_plain(self, fault: Fault) -> bool:
        """Whether the registry may and seems to speak http, not https. Only found out before anything was sent."""
        own = self._scheme == "https" and fault.url.origin == self._url("").origin
        plain = fault.kind in {"not-tls", "reset"} or (fault.kind == "refused" and fault.url.port == 443)
        return own and fault.connecting and plain and self._policy.plain(fault.url)

    def _url(self, path: str) -> Url:
        return urls.parse(f"{self._scheme}://{self._host}{self._path}{path}")

    def _fetch(self, method: str, url: Url, headers: Mapping[str, str], body: bytes) -> bytes:
        """Ask a token server; no redirect is followed with what is in `headers` or `body`."""
        what = f"get a token for {self.source.host} from {url.bare}"
        redirects = 0
        while True:
            request = Request(method=method, url=url, headers=headers, body=body, document=True)
            try:
                response = self._transport.send(request, verify=not self._policy.insecure(url))
                if response.status == 200:
                    return self._small(response, what)
            except Fault as fault:
                raise self.fault(fault) from fault
            redirects += 1
            if response.status not in _REDIRECTS or method != "GET" or redirects > self._limits.redirects:
                raise self._failure(response, what)
            response.close()
            target = self.located(response, what)
            headers = headers if target.origin == url.origin else {}
            url = target

    def _small(self, response: Response, what: str) -> bytes:
        data = response.read(self._limits.token)
        if len(data) > self._limits.token:
            raise RegistryError(f"cannot {what}: its answer is larger than {self._limits.token} bytes")
        return data

    def _failure(self, response: Response, what: str) -> Exception:
        status, after = response.status, retry.retry_after(response.header("Retry-After"), time.time())
        used, host = self._authenticator.used, self.source.host
        error = failures.of_answer(
            response,
            what,
            name=f"{host}/{used.path}" if used and used.path else host,
            limit=self._limits.error_body,
            looked_at=self._store.looked_at,
        )
        return retry.Again(error, after) if status in retry.STATUSES else error
