# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: `relay.py FROM TO` passes connections of one Unix socket on to another.

PID 1 turns away peers whose process it cannot see, so its private socket is closed to the outside of the
host's PID namespace; a process inside may knock for us.
"""

import contextlib
import os
import socket
import sys
import threading


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def main(listen: str, target: str) -> None:
    os.makedirs(os.path.dirname(listen), exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(listen)
        server.listen()
        while True:
            near, _ = server.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(target)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
