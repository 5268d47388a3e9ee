# SPDX-License-Identifier: Apache-2.0
"""Connections: the standard library's HTTP/1.1 with deadlines and a least pace. Imported when first needed."""

import contextlib
import http.client
import io
import math
import socket
import ssl
import time
from typing import Any

from ashore.errors import words_of
from ashore.mechanisms.registry.proxies import Proxy
from ashore.mechanisms.registry.urls import Url

_LEAST_BYTES = 1024
"""A server that sends less than this in `Pace.idle` seconds of waiting for it is as good as silent."""
_FRAMING = 16
"""Bytes that may come for each byte of a body: chunks of one byte need six."""
_SPARE = 128 << 10
"""Bytes that may come beyond: what is read ahead, and what little a body in chunks ends with."""

_NOT_TLS = (
    *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"),
    *("UNEXPECTED_EOF_WHILE_READING", "RECORD_OVERFLOW", "BAD_RECORD_TYPE"),
)
"""OpenSSL's reasons when the other side speaks something else."""


class PaddedError(http.client.HTTPException):
    """Much came that is no part of a body."""


class Pace:
    """How long one connection may take: `idle` seconds of silence, and all until `deadline` (monotonic) if set."""

    def __init__(self, idle: float) -> None:
        self.idle = idle
        self.deadline: float | None = None
        self._waited = 0.0
        self._received = 0
        self._room: float = math.inf

    def begin(self) -> None:
        """An answer's head is read: its lines are counted elsewhere, and it has a deadline."""
        self._room = math.inf

    def wanted(self, amount: int) -> None:
        """So much of a body is read next, if there is as much."""
        self._room = amount * _FRAMING + _SPARE

    def received(self, amount: int, waited: float) -> None:
        """Count; only time spent waiting for the server counts, and only bytes that may be of use.

        Raises:
            TimeoutError: it is too slow. PaddedError: it is something else than a body.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeoutError("the answer took too long")
        self._waited += waited
        self._received += amount if self._room > _SPARE else 0
        self._room -= amount
        if self._room < 0:
            raise PaddedError
        if self._waited > self.idle:
            if self._received < _LEAST_BYTES:
                raise TimeoutError(f"less than {_LEAST_BYTES} bytes in {self.idle:g} s")
            self._waited, self._received = 0.0, 0


class _Paced(io.RawIOBase):
    """A socket's bytes, with their pace watched."""

    def __init__(self, raw: socket.SocketIO, pace: Pace) -> None:
        self._raw = raw
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        begun = time.monotonic()
        amount = self._raw.readinto(buffer)
        self._pace.received(amount or 0, time.monotonic() - begun)
        return amount

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Tunnelled(http.client.HTTPSConnection):
    """The library (of Python 3.11) names an IPv6 address in CONNECT without brackets: no proxy finds the port then."""

    _tunnel_host: str

    def _tunnel(self) -> None:
        host = self._tunnel_host
        self._tunnel_host = f"[{host}]" if ":" in host else host
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self._tunnel_host = host


def connect(
    url: Url, proxy: Proxy | None, context: ssl.SSLContext | None, *, connect_seconds: float, pace: Pace
) -> http.client.HTTPConnection:
    """Open a connection for requests to the origin of `url`, through `proxy` where there is one.

    Raises:
        OSError, http.client.HTTPException: whatever went wrong; `fault_of` names it.
    """
    host, port = (proxy.host, proxy.port) if proxy else (url.host, url.port)
    made: http.client.HTTPConnection
    if context is not None:
        kind = _Tunnelled if proxy else http.client.HTTPSConnection
        made = kind(host, port, timeout=connect_seconds, context=context)
        if proxy:
            made.set_tunnel(
                url.host, url.port, {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            )
    else:
        made = http.client.HTTPConnection(host, port, timeout=connect_seconds)

    # The handshakes have the socket's patience, each for itself; a proxy that goes on with its answer has not.
    made.response_class = _watched(Pace(pace.idle), connect_seconds)
    try:
        made.connect()
    except BaseException:
        made.close()
        raise
    made.sock.settimeout(pace.idle)
    made.response_class = _watched(pace)
    return made


def _watched(pace: Pace, seconds: float | None = None) -> type[http.client.HTTPResponse]:
    """Answers at that pace; with `seconds`, each has so many from when it is waited for."""

    class Watched(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
            super().__init__(sock, *args, **named)
            pace.begin()
            if seconds is not None:
                pace.deadline = time.monotonic() + seconds
            raw = sock.makefile("rb", buffering=0)
            self.fp.close()
            self.fp = io.BufferedReader(_Paced(raw, pace), 64 * 1024)

        def readinto(self, buffer: Any, /) -> int:
            pace.wanted(len(buffer))
            return super().readinto(buffer)

    return Watched


def cut_off(sock: socket.socket) -> None:
    """Who waits for the connection in another thread gets its end."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # TLS says no goodbye: its state is in use there


def fault_of(error: Exception) -> tuple[str, str]:
    """What a connection's error is: a kind (`retry.FAULTS` and others) and a sentence for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate", error.verify_message or error.reason
    # Which of the two ends a handshake that was answered in plain text differs between releases of OpenSSL.
    ended = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if ended or (isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS):
        return "not-tls", "the server does not speak TLS"
    if isinstance(error, ssl.SSLError):
        return "tls", (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, socket.gaierror):
        return "dns", error.strerror or "no such host"
    if isinstance(error, TimeoutError):
        return "timeout", str(error) if error.args and error.errno is None else "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refused", "connection refused"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError | http.client.IncompleteRead):
        return "reset", "the connection broke"
    if isinstance(error, PaddedError):
        return "protocol", "what comes is mostly no part of the answer"
    if isinstance(error, http.client.HTTPException):
        return "protocol", f"not a proper HTTP answer ({type(error).__name__})"
    if isinstance(error, OSError) and str(error).startswith("Tunnel connection failed"):
        return "proxy", str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return "unreachable", words_of(error)
    return "protocol", str(error)
