# SPDX-License-Identifier: Apache-2.0
"""A request, its answer, and the fault that comes in an answer's place. Who carries them: `transport`."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ashore.mechanisms.registry.rate import Rate
from ashore.mechanisms.registry.urls import Url

if TYPE_CHECKING:
    import http.client

Body = bytes | Iterable[bytes]


class Fault(Exception):  # noqa: N818 - `failures` makes an error of it
    """A request got no answer. `kind` is one of `retry.FAULTS`, or certificate, tls, not-tls, proxy, protocol."""

    def __init__(self, kind: str, text: str, url: Url, *, connecting: bool = False, proxy: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.url = url
        self.connecting = connecting
        """No request was sent."""
        self.proxy = proxy
        """What it was asked through, as people write it; empty where it was asked directly."""


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
        self,
        raw: "http.client.HTTPResponse",
        url: Url,
        done: "Callable[[bool], None]",
        rate: Rate | None = None,
        cut: "Callable[[], None]" = lambda: None,
    ) -> None:
        self._raw = raw
        self._rate = rate
        self._cut = cut
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
            raise fault_of(error, self.url) from error
        if self._rate:
            self._rate.took(amount)
        if self._left is not None:
            self._left -= amount
        if amount == 0 and len(buffer):
            early = bool(self._left)
            self._finish(keep=not early)
            if early:
                raise self.broke()
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

    def broke(self) -> Fault:
        """What it means that the body ends early."""
        return Fault("reset", "the connection broke", self.url)

    def skip(self, amount: int) -> None:
        """Read `amount` bytes of the body and forget them."""
        buffer = memoryview(bytearray(64 * 1024))
        while amount:
            got = self.readinto(buffer[: min(amount, len(buffer))])
            if not got:
                raise self.broke()
            amount -= got

    def cut_off(self) -> None:
        """Break the connection off under who reads from it in another thread."""
        if self._done:
            self._cut()

    def close(self) -> None:
        """Drop the connection if the body was not read to its end."""
        self._finish(keep=False)

    def _finish(self, *, keep: bool) -> None:
        done, self._done = self._done, None
        if done:
            will_close = self._raw.will_close
            self._raw.close()
            done(keep and not will_close)


def fault_of(error: Exception, url: Url, *, connecting: bool = False, proxy: str = "") -> Exception:
    """What to raise for what came up while `url` was asked: a `Fault`, or `error` itself if the network has no part."""
    from http.client import HTTPException

    from ashore.mechanisms.registry import wire

    if not isinstance(error, OSError | HTTPException | ValueError):
        return error
    kind, text = wire.fault_of(error)
    if kind == "not-tls" and not connecting:
        kind, text = "reset", "the connection broke"
    return Fault(kind, text, url, connecting=connecting, proxy=proxy)
