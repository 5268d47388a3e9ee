# SPDX-License-Identifier: Apache-2.0
"""One HTTP request to one place, over a pool of kept connections. No redirects, no credentials, no retries here."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ashore.mechanisms.registry import proxies, trust
from ashore.mechanisms.registry.rate import Rate
from ashore.mechanisms.registry.urls import Url
from ashore.nouns.limits import Limits

if TYPE_CHECKING:
    import http.client
    import ssl

    from ashore.mechanisms.registry.wire import Pace

Body = bytes | Iterable[bytes]
_KEPT = 8
"""Idle connections kept for each origin."""


class Fault(Exception):  # noqa: N818 - `failures` makes an error of it
    """A request got no answer. `kind` is one of `retry.FAULTS`, or certificate, tls, not-tls, proxy, protocol."""

    def __init__(self, kind: str, text: str, url: Url, *, connecting: bool = False) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.url = url
        self.connecting = connecting
        """No request was sent."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask. A body that is not bytes needs its `length`. `document`: the whole answer has a deadline."""

    method: str
    url: Url
    headers: Mapping[str, str] = {}
    body: Body = b""
    length: int | None = None
    document: bool = False


class Response:
    """An answer whose body is read by `readinto`, which counts on nothing the server announced."""

    def __init__(
        self, raw: "http.client.HTTPResponse", url: Url, done: "Callable[[bool], None]", rate: Rate | None = None
    ) -> None:
        self._raw = raw
        self._rate = rate
        self._done: Callable[[bool], None] | None = done
        self.url = url
        self.status = raw.status
        self.length = raw.length
        """What is announced of the body; None if nothing is."""
        self.framed = raw.length is not None or bool(raw.chunked)
        """Whether an early end can be told from the end."""
        self._left = raw.length

    def header(self, name: str) -> str:
        """The header's value, of several the first; empty if it is not there."""
        return (self._raw.getheader(name) or "").strip()

    def headers(self, name: str) -> list[str]:
        """The values of a header that may come more than once."""
        return [str(value) for value in self._raw.headers.get_all(name, [])]

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read some of the body; 0 at its end.

        Raises:
            Fault: the connection broke before the end.
        """
        if self._done is None:
            return 0
        if self._rate:
            buffer = memoryview(buffer)[: self._rate.piece]
        try:
            amount = self._raw.readinto(buffer)
        except Exception as error:
            self.close()
            raise _fault(error, self.url) from error
        if self._rate:
            self._rate.took(amount)
        if self._left is not None:
            self._left -= amount
        if amount == 0 and len(buffer):
            early = bool(self._left)
            self._finish(keep=not early)
            if early:
                raise Fault("reset", "the connection broke", self.url)
        elif self._left == 0:
            self._finish(keep=True)
        return amount

    def read(self, limit: int) -> bytes:
        """The body, and at most one byte more than `limit` of it.

        Raises:
            Fault: the connection broke before the end.
        """
        data = bytearray()
        buffer = memoryview(bytearray(min(limit + 1, 64 * 1024)))
        while len(data) <= limit:
            amount = self.readinto(buffer[: limit + 1 - len(data)])
            if not amount:
                return bytes(data)
            data += buffer[:amount]
        self.close()
        return bytes(data)

    def skip(self, amount: int) -> None:
        """Read `amount` bytes of the body and forget them."""
        buffer = memoryview(bytearray(64 * 1024))
        while amount:
            got = self.readinto(buffer[: min(amount, len(buffer))])
            if not got:
                raise Fault("reset", "the body ends early", self.url)
            amount -= got

    def close(self) -> None:
        """Drop the connection if the body was not read to its end."""
        self._finish(keep=False)

    def _finish(self, *, keep: bool) -> None:
        done, self._done = self._done, None
        if done:
            will_close = self._raw.will_close
            self._raw.close()
            done(keep and not will_close)


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
    ) -> None:
        self._config_root = config_root
        self._environ = environ
        self._limits = limits
        self._lock = threading.Lock()
        self._rate = Rate(limits.rate, sleep=sleep) if limits.rate else None
        self._idle: dict[tuple[object, ...], list[_Kept]] = {}
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def send(self, request: Request, *, verify: bool, maybe_plain: bool = False) -> Response:
        """Ask once; if a kept connection turns out to be dropped, again on another, for what is harmless to repeat.

        With `maybe_plain` it is found out whether the server speaks TLS at all before authorities are loaded.

        Raises:
            Fault: there is no answer.
        """
        key = (*request.url.origin, verify)
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
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for kept in (kept for group in idle.values() for kept in group):
            kept.connection.close()

    def _connect(self, url: Url, *, verify: bool) -> _Kept:
        from ashore.mechanisms.registry import wire

        proxy = proxies.for_url(url, self._environ)
        context = self._context(url.host_port, verify=verify) if url.scheme == "https" else None
        pace = wire.Pace(self._limits.idle_seconds)
        try:
            made = wire.connect(url, proxy, context, connect_seconds=self._limits.connect_seconds, pace=pace)
        except Exception as error:
            raise _fault(error, url, connecting=True) from error
        return _Kept(made, pace, proxy)

    def _exchange(self, request: Request, kept: _Kept, key: tuple[object, ...]) -> Response:
        connection, url = kept.connection, request.url
        kept.pace.deadline = time.monotonic() + 2 * self._limits.idle_seconds
        headers = _headers(request)
        target = url.target
        if kept.proxy and url.scheme == "http":
            target = str(url)  # RFC 9112, 3.2.2
            if kept.proxy.authorization:
                headers["Proxy-Authorization"] = kept.proxy.authorization
        try:
            # A server may refuse a body half-way and say why before it hangs up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(request.method, target, body=request.body or None, headers=headers)
            raw = connection.getresponse()
        except Exception as error:
            connection.close()
            raise _fault(error, url) from error
        if raw.status < 300 and not request.document:
            kept.pace.deadline = None  # a blob may take as long as it is large
        done = lambda keep: self._give(key, kept) if keep else connection.close()  # noqa: E731
        response = Response(raw, url, done, self._rate)
        if response.length == 0 or request.method == "HEAD":
            response.readinto(bytearray(1))
        return response

    def _context(self, host_port: str, *, verify: bool) -> "ssl.SSLContext":
        with self._lock:
            made = self._contexts.get((host_port, verify))
        if made is None:
            made = trust.context(host_port, verify=verify, config_root=self._config_root, environ=self._environ)
            with self._lock:
                self._contexts[host_port, verify] = made
        return made

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


def _headers(request: Request) -> dict[str, str]:
    from ashore import __version__

    headers = {"User-Agent": f"ashore/{__version__}", "Accept-Encoding": "identity"} | dict(request.headers)
    if isinstance(request.body, bytes):
        if request.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(len(request.body))
    else:
        headers["Content-Length"] = str(request.length)
    return headers


def _fault(error: Exception, url: Url, *, connecting: bool = False) -> Exception:
    from http.client import HTTPException

    from ashore.mechanisms.registry.wire import fault_of

    if not isinstance(error, OSError | HTTPException | ValueError):
        return error
    kind, text = fault_of(error)
    if kind == "not-tls" and not connecting:
        kind, text = "reset", "the connection broke"
    return Fault(kind, text, url, connecting=connecting)
