# SPDX-License-Identifier: Apache-2.0
"""Ports of loopback, carried between this machine and a host with a network namespace of its own."""

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable

_CLONE_NEWNET = 0x40000000


class _Carrier:
    """Takes connections of `listener`, and carries each to a new one by `dial`."""

    def __init__(self, listener: socket.socket, dial: Callable[[], socket.socket]) -> None:
        self._listener = listener
        self._dial = dial
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Refuse new connections and break those that are open."""
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        try:
            far = self._dial()
        except OSError:
            near.close()
            return
        self._connections += [near, far]
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()
        near.close()
        far.close()


class Forward(_Carrier):
    """Listens on 127.0.0.1:`port` in the network namespace at `namespace`, and dials the same address here."""

    def __init__(self, port: int, namespace: str) -> None:
        super().__init__(
            _there(namespace, lambda: socket.create_server(("127.0.0.1", port))),
            lambda: socket.create_connection(("127.0.0.1", port)),
        )


class Published(_Carrier):
    """Listens on a free port of 127.0.0.1 here, and dials 127.0.0.1:`port` in the network namespace at `namespace`."""

    def __init__(self, port: int, namespace: str) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        super().__init__(listener, lambda: _there(namespace, lambda: socket.create_connection(("127.0.0.1", port))))


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _there(namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
    """A socket belongs to the namespace it was made in: a thread goes there, makes it, and ends."""
    made: list[socket.socket | BaseException] = []

    def go() -> None:
        try:
            there = os.open(namespace, os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(there, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(there)
            made.append(make())
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]
