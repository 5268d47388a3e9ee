# SPDX-License-Identifier: Apache-2.0
"""One look at whether something answers: http, tcp or a command, each with a deadline."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ashore.errors import AshoreError
from ashore.mechanisms import process
from ashore.nouns.bundle import Health

if TYPE_CHECKING:
    from http.client import HTTPConnection

_MOST_READ = 1 << 20
"""Bytes of an answer."""


def probe(health: Health, seconds: float) -> str:
    """Try the probe that `health` declares: empty when it succeeds or there is none, else why not."""
    if health.http:
        return http(health.http, seconds)
    if health.tcp:
        return tcp(health.tcp, seconds)
    if health.command:
        return command(health.command, seconds)
    return ""


def http(url: str, seconds: float) -> str:
    """GET `url`: 200 to 399 is well, as for Kubernetes' probes, which do not check the certificate either.

    Proxies are not used, redirects not followed. An answer that goes on and on is one all the same.
    """
    import http.client
    from urllib.parse import urlsplit

    until = time.monotonic() + seconds
    try:
        parts = urlsplit(url)
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, seconds)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.connect()
            with _ended_after(connection.sock, max(0.0, until - time.monotonic())):
                connection.request("GET", target, headers={"User-Agent": "ashore", "Connection": "close"})
                with connection.getresponse() as answer, contextlib.suppress(OSError, http.client.HTTPException):
                    # Services log a connection that is closed before all was read as reset.
                    answer.read(_MOST_READ)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{url}: {_why(error)}"
    return "" if 200 <= answer.status < 400 else f"{url}: {answer.status} {answer.reason}"


def tcp(address: str, seconds: float) -> str:
    """Connect to ``HOST:PORT``: an accepted connection is well."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]") or "localhost", int(port)), timeout=seconds):
            return ""
    except (OSError, ValueError) as error:
        return f"{address}: {_why(error)}"


def command(argv: tuple[str, ...], seconds: float) -> str:
    """Run `argv` on the host without a shell: 0 is well."""
    try:
        done = process.run(argv, seconds=seconds, check=False, alike=True)
    except AshoreError as error:
        return str(error)
    last = done.stderr.splitlines()[-1][:200] if done.stderr else ""
    return "" if done.code == 0 else f"{argv[0]} {process.how_it_ended(done.code)}" + (f": {last}" if last else "")


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> "HTTPConnection":
    import http.client

    if scheme == "https":
        import ssl

        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    if scheme != "http":
        raise ValueError("not an http or https URL")
    return http.client.HTTPConnection(host, port, timeout=seconds)


@contextlib.contextmanager
def _ended_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """All of an answer is to come within `seconds`: the socket's own patience begins anew with each byte."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
