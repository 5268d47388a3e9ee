# SPDX-License-Identifier: Apache-2.0
"""A D-Bus connection with a deadline on everything: to PID 1 directly, or over the system bus."""

import itertools
import os
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
        from jeepney.auth import AuthenticationError
        from jeepney.io.blocking import prep_socket
        from jeepney.low_level import Parser

        try:
            self._socket = prep_socket(path, timeout=_CONNECT_SECONDS)
        except AuthenticationError as error:
            raise PermissionError(f"{path} refused us") from error
        self._parser = Parser()
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

        order = [self._send(call) for call in calls]
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

    def _send(self, call: Call) -> int:
        from jeepney import DBusAddress, new_method_call

        address = DBusAddress(call.path, bus_name=call.destination, interface=call.interface)
        message = new_method_call(address, call.method, call.signature or None, call.arguments)
        serial = next(self._serials)
        self._socket.settimeout(_CONNECT_SECONDS)
        self._socket.sendall(message.serialise(serial=serial))
        return serial

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
                raise ConnectionResetError(104, os.strerror(104))
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


def _reply(message: "Message") -> Reply:
    from jeepney import HeaderFields, MessageType

    if message.header.message_type is not MessageType.error:
        return Reply(values=tuple(message.body))
    name = message.header.fields.get(HeaderFields.error_name, "unknown error")
    text = message.body[0] if message.body and isinstance(message.body[0], str) else name
    return Reply(error=name, message=text)
