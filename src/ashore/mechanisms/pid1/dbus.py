# SPDX-License-Identifier: Apache-2.0
"""A D-Bus connection with a deadline on everything: to PID 1 directly, or over the system bus."""

import errno
import itertools
import os
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ashore.errors import AshoreError

if TYPE_CHECKING:
    from jeepney import Message

_CONNECT_SECONDS = 5.0
_AT_ONCE = 64
"""Calls in flight: few enough that neither side's socket buffer fills while nobody reads."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One method call; `signature` is D-Bus' word for the types of `arguments`."""

    destination: str
    path: str
    interface: str
    method: str
    signature: str = ""
    arguments: tuple[Any, ...] = ()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: values, or the name of an error and its text."""

    values: tuple[Any, ...] = ()
    error: str = ""
    message: str = ""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that somebody sent."""

    interface: str
    member: str
    values: tuple[Any, ...]


class Connection:
    """One authenticated connection. Signals that arrive while a reply is awaited are kept for `signal`."""

    def __init__(self, path: str) -> None:
        """Connect to the socket at `path`.

        Raises:
            OSError: nobody listens there, or we may not.
        """
        from jeepney.low_level import Parser

        self._parser = Parser()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_CONNECT_SECONDS)
            self._socket.connect(path)
            self._parser.add_data(_authenticate(self._socket))
        except BaseException:
            self._socket.close()
            raise
        self._serials = itertools.count(1)
        self._signals: list[Signal] = []

    def close(self) -> None:
        self._socket.close()

    def call(self, calls: Sequence[Call], deadline: float) -> list[Reply]:
        """Send all calls and wait for all replies, until the monotonic time `deadline`.

        Raises:
            AshoreError: not all replies came in time.
            OSError: the connection broke.
        """
        replies: list[Reply] = []
        for start in range(0, len(calls), _AT_ONCE):
            replies += self._batch(calls[start : start + _AT_ONCE], deadline)
        return replies

    def signal(self, deadline: float) -> Signal | None:
        """The next signal, or None when none came before the monotonic time `deadline`."""
        while not self._signals:
            message = self._receive(deadline)
            if message is None:
                return None
            self._keep(message)
        return self._signals.pop(0)

    def _batch(self, calls: Sequence[Call], deadline: float) -> list[Reply]:
        from jeepney import HeaderFields

        order = self._send(calls)
        replies: dict[int, Reply] = {}
        while len(replies) < len(order):
            message = self._receive(deadline)
            if message is None:
                raise AshoreError(
                    f"{calls[0].destination} did not answer {calls[0].method} in time",
                    remedy="see whether PID 1 is alive: systemctl status",
                )
            serial = message.header.fields.get(HeaderFields.reply_serial)
            if serial in order:
                replies[serial] = _reply(message)
            else:
                self._keep(message)
        return [replies[serial] for serial in order]

    def _send(self, calls: Sequence[Call]) -> list[int]:
        """All in one write: PID 1 begins no job while it has something to read, and orders those that it knows of."""
        from jeepney import DBusAddress, new_method_call

        serials, data = [], b""
        for call in calls:
            address = DBusAddress(call.path, bus_name=call.destination, interface=call.interface)
            message = new_method_call(address, call.method, call.signature or None, call.arguments)
            serials.append(next(self._serials))
            data += message.serialise(serial=serials[-1])
        self._socket.settimeout(_CONNECT_SECONDS)
        self._socket.sendall(data)
        return serials

    def _receive(self, deadline: float) -> "Message | None":
        while (message := self._parser.get_next_message()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._parser.add_data(data)
        return message

    def _keep(self, message: "Message") -> None:
        from jeepney import HeaderFields, MessageType

        if message.header.message_type is MessageType.signal:
            fields = message.header.fields
            self._signals.append(
                Signal(
                    interface=fields.get(HeaderFields.interface, ""),
                    member=fields.get(HeaderFields.member, ""),
                    values=tuple(message.body),
                )
            )


def _authenticate(peer: socket.socket) -> bytes:
    """Say who we are; return what came after the answer.

    BEGIN goes with the first line, as sd-bus does it. Sent later, it can reach PID 1 in one read with our
    first message, which then lies unseen in its buffer until more bytes come: the call hangs.

    Source: D-Bus specification, "Authentication Protocol".
    """
    user = str(os.geteuid()).encode().hex().encode()
    peer.sendall(b"\0AUTH EXTERNAL " + user + b"\r\nBEGIN\r\n")
    said = b""
    while b"\r\n" not in said:
        data = peer.recv(4096)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        said += data
    answer, _, rest = said.partition(b"\r\n")
    if not answer.startswith(b"OK "):
        raise PermissionError(errno.EACCES, "authentication was refused")
    return rest


def _reply(message: "Message") -> Reply:
    from jeepney import HeaderFields, MessageType

    if message.header.message_type is not MessageType.error:
        return Reply(values=tuple(message.body))
    name = message.header.fields.get(HeaderFields.error_name, "unknown error")
    text = message.body[0] if message.body and isinstance(message.body[0], str) else name
    return Reply(error=name, message=text)
