# SPDX-License-Identifier: Apache-2.0
"""Tell PID 1 that this service is ready (sd_notify(3)); without somebody to tell, nothing."""

import contextlib
import os
import socket


def ready() -> None:
    """Say it, once: who waits for this unit goes on, while its process does."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"READY=1", address)
