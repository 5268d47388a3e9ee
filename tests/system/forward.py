# SPDX-License-Identifier: Apache-2.0
"""A port of this machine's loopback, on the loopback of a host with a network namespace of its own."""

import contextlib
import ctypes
import os
import socket
import threading

_CLONE_NEWNET = 0x40000000


class Forward:
    """Listens on 127.0.0.1:`port` in the network namespace at `namespace`, and dials the same address here."""

    def __init__(self, port: int, namespace: str) -> None:
        self._port = port
        self._listener = _listen_there(port, namespace)
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
            far = socket.create_connection(("127.0.0.1", self._port))
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


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _listen_there(port: int, namespace: str) -> socket.socket:
    """A socket belongs to the namespace it was made in: a thread goes there, makes it, and ends."""
    made: list[socket.socket | BaseException] = []

    def make() -> None:
        try:
            there = os.open(namespace, os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(there, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(there)
            made.append(socket.create_server(("127.0.0.1", port)))
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]
