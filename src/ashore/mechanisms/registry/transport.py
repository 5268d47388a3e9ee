# SPDX-License-Identifier: Apache-2.0
"""One HTTP request to one place, over a pool of kept connections. No redirects, no credentials, no retries here."""

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from ashore.mechanisms.registry import proxies, trust
from ashore.mechanisms.registry.messages import Fault, Request, Response, fault_of
from ashore.mechanisms.registry.rate import Rate
from ashore.mechanisms.registry.urls import Url
from ashore.nouns.limits import Limits

if TYPE_CHECKING:
    import http.client
    import ssl

    from ashore.mechanisms.registry.wire import Pace

_KEPT = 8
"""Idle connections kept for each origin."""
_PIECE = 64 << 10
_NEAR = 0.002
"""Seconds: a further connection that is made within them costs less than waiting for an answer."""


class _Kept(msgspec.Struct):
    connection: "http.client.HTTPConnection"
    pace: "Pace"
    proxy: proxies.Proxy | None


class Transport:
    """Sends requests. May be used by several threads."""

    def __init__(
        self,
        config_root: str,
        environ: Mapping[str, str],
        limits: Limits,
        sleep: Callable[[float], None] = time.sleep,
        written: Mapping[str, str] | None = None,
    ) -> None:
        """`written`: how registries are written by whom asks for them, by their `Url.host_port`."""
        self._config_root = config_root
        self._environ = environ
        self._written = written or {}
        self._limits = limits
        self._lock = threading.Lock()
        self._rate = Rate(limits.rate, sleep) if limits.rate else None
        self._idle: dict[tuple[object, ...], list[_Kept]] = {}
        self._asked: dict[tuple[object, ...], _Kept] = {}
        self._near: set[tuple[object, ...]] = set()
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def ask_ahead(self, request: Request, *, verify: bool) -> None:
        """Send a GET now whose answer `send` reads when it is given the same; it need not come to that.

        Nothing happens where no connection is idle and another one would take long, and where the rate is limited.
        """
        key, what = (*request.url.origin, verify), _what(request, verify)
        if self._rate or what in self._asked:
            return
        kept = self._take(key)
        try:
            if kept is None and key in self._near:
                kept = self._connect(request.url, verify=verify)
            if kept is not None:
                self._request(request, kept)
        except Fault:
            return  # `send` will say so, if it is still so
        if kept is not None:
            with self._lock:
                self._asked[what] = kept

    def send(self, request: Request, *, verify: bool, maybe_plain: bool = False) -> Response:
        """Ask once; if a kept connection turns out to be dropped, again on another, for what is harmless to repeat.

        With `maybe_plain` it is found out whether the server speaks TLS at all before authorities are loaded.

        Raises:
            Fault: there is no answer.
        """
        key = (*request.url.origin, verify)
        if request.method == "GET" and (asked := self._asked_for(_what(request, verify))):
            with contextlib.suppress(Fault):
                return self._answer(request, asked, key)
        while kept := self._take(key):
            try:
                return self._exchange(request, kept, key)
            except Fault as fault:
                if fault.kind != "reset" or request.method not in {"GET", "HEAD"}:
                    raise
        if (
            maybe_plain
            and verify
            and request.url.scheme == "https"
            and (request.url.host_port, True) not in self._contexts
        ):
            self._connect(request.url, verify=False).connection.close()
        return self._exchange(request, self._connect(request.url, verify=verify), key)

    def close(self) -> None:
        """Close all connections that are idle, or whose answer nobody wants."""
        with self._lock:
            idle, self._idle = self._idle, {}
            asked, self._asked = self._asked, {}
        for kept in itertools.chain(*idle.values(), asked.values()):
            kept.connection.close()

    def _connect(self, url: Url, *, verify: bool) -> _Kept:
        from ashore.mechanisms.registry import wire

        proxy = proxies.for_url(url, self._environ)
        context = self._context(url.host_port, verify=verify) if url.scheme == "https" else None
        pace = wire.Pace(self._limits.idle_seconds)
        begun = time.monotonic()
        try:
            made = wire.connect(url, proxy, context, connect_seconds=self._limits.connect_seconds, pace=pace)
        except Exception as error:
            raise fault_of(error, url, connecting=True, proxy=str(proxy or "")) from error
        if time.monotonic() - begun < _NEAR:
            self._near.add((*url.origin, verify))
        return _Kept(made, pace, proxy)

    def _exchange(self, request: Request, kept: _Kept, key: tuple[object, ...]) -> Response:
        self._request(request, kept)
        return self._answer(request, kept, key)

    def _request(self, request: Request, kept: _Kept) -> None:
        connection, url = kept.connection, request.url
        headers = _headers(request)
        target = url.target
        if kept.proxy and url.scheme == "http":
            target = str(url)  # RFC 9112, 3.2.2
            if kept.proxy.authorization:
                headers["Proxy-Authorization"] = kept.proxy.authorization
        try:
            # A server may refuse a body half-way and say why before it hangs up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(request.method, target, body=_body(request), headers=headers)
        except Exception as error:
            connection.close()
            raise fault_of(error, url, proxy=str(kept.proxy or "")) from error
        # From here on: what is sent may take as long as it is large.
        kept.pace.deadline = time.monotonic() + 2 * self._limits.idle_seconds

    def _answer(self, request: Request, kept: _Kept, key: tuple[object, ...]) -> Response:
        from ashore.mechanisms.registry import wire

        connection, url = kept.connection, request.url
        cut = functools.partial(wire.cut_off, connection.sock)
        try:
            raw = connection.getresponse()
        except Exception as error:
            connection.close()
            raise fault_of(error, url, proxy=str(kept.proxy or "")) from error
        if raw.status < 300 and not request.document:
            kept.pace.deadline = None  # a blob may take as long as it is large
        done = lambda keep: self._give(key, kept) if keep else connection.close()  # noqa: E731
        response = Response(raw, url, done, self._rate, cut)
        if response.length == 0 or request.method == "HEAD":
            response.readinto(bytearray(1))
        return response

    def _context(self, host_port: str, *, verify: bool) -> "ssl.SSLContext":
        with self._lock:
            made = self._contexts.get((host_port, verify))
        if made is None:
            names = (self._written.get(host_port, host_port), host_port)
            made = trust.context(names, verify=verify, config_root=self._config_root, environ=self._environ)
            with self._lock:
                self._contexts[host_port, verify] = made
        return made

    def _asked_for(self, what: tuple[object, ...]) -> _Kept | None:
        """The connection on which that was asked ahead; what it may take to answer counts from now."""
        with self._lock:
            kept = self._asked.pop(what, None)
        if kept is not None:
            kept.pace.deadline = time.monotonic() + 2 * self._limits.idle_seconds
        return kept

    def _take(self, key: tuple[object, ...]) -> _Kept | None:
        import select

        while True:
            with self._lock:
                group = self._idle.get(key)
                kept = group.pop() if group else None
            if kept is None:
                return None
            # Readable without a question asked: the server said goodbye.
            with contextlib.suppress(OSError, ValueError):
                poll = select.poll()
                poll.register(kept.connection.sock, select.POLLIN)
                if not poll.poll(0):
                    return kept
            kept.connection.close()

    def _give(self, key: tuple[object, ...], kept: _Kept) -> None:
        with self._lock:
            group = self._idle.setdefault(key, [])
            if len(group) < _KEPT and kept.connection.sock is not None:
                group.append(kept)
                return
        kept.connection.close()


def _what(request: Request, verify: bool) -> tuple[object, ...]:
    return (verify, str(request.url), *sorted(request.headers.items()))


def _body(request: Request) -> "bytes | Iterator[memoryview] | None":
    """What is sent; much of it in pieces, since the socket's patience is for one of them."""
    body = request.body
    if isinstance(body, bytes) and len(body) <= _PIECE:
        return body or None
    return _pieces((body,) if isinstance(body, bytes) else body)


def _pieces(texts: Iterable[bytes]) -> Iterator[memoryview]:
    for text in texts:
        for at in range(0, len(text), _PIECE):
            yield memoryview(text)[at : at + _PIECE]


def _headers(request: Request) -> dict[str, str]:
    from ashore import __version__

    headers = {"User-Agent": f"ashore/{__version__}", "Accept-Encoding": "identity"} | dict(request.headers)
    if isinstance(request.body, bytes):
        if request.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(len(request.body))
    else:
        headers["Content-Length"] = str(request.length)
    return headers
