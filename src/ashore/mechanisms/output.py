# SPDX-License-Identifier: Apache-2.0
"""Output that may get lost but never stops its writer: the terminal closed, the reader of the pipe gone or stuck."""

import atexit
import io
import os
import signal
import sys
import threading
from collections import deque

_WAITING = 64 * 1024 * 1024
"""Bytes kept for a reader that is slow; what comes on top is dropped."""
_DRAIN_SECONDS = 30.0
"""How long the end of the program waits for a reader that is slow."""


def survive_lost_output() -> None:
    """Make this process's standard output and error such streams. Call it before anything is written.

    A terminal that closes does not end this process either.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = _Surviving(stream.fileno())
        text = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, text)
        atexit.register(_finish, text, raw)


def _finish(text: io.TextIOWrapper, raw: "_Surviving") -> None:
    text.flush()
    raw.drain(_DRAIN_SECONDS)


class _Surviving(io.RawIOBase):
    """A file descriptor behind a thread, which is the one that waits when a reader does not read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = False
        self._changed = threading.Condition()
        threading.Thread(target=self._pump, name=f"output {descriptor}", daemon=True).start()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object, /) -> int:
        taken = bytes(data)  # type: ignore[call-overload]
        with self._changed:
            # One text may be larger than all that: a document is written at once, and is not to be cut.
            if not self._lost and self._size <= _WAITING:
                self._waiting.append(taken)
                self._size += len(taken)
                self._changed.notify_all()
        return len(taken)

    def drain(self, seconds: float) -> None:
        """Wait until all was read, or is lost, or `seconds` passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._lost or not self._size, seconds)

    def _pump(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                data = self._waiting.popleft()
            try:
                self._write_all(data)
            except OSError:
                self._give_up()
                return
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _give_up(self) -> None:
        """Nobody reads any more. The descriptor leads nowhere from now on, for children as well."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._descriptor)
        os.close(nowhere)
        with self._changed:
            self._lost = True
            self._waiting.clear()
            self._changed.notify_all()
