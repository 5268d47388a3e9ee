# SPDX-License-Identifier: Apache-2.0
"""Reading in a thread of its own, so that network, decompression and writing overlap."""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import TypeVar

from ashore.mechanisms.images.streams import BLOCK, Poured, Readable, Unpacked, cut_off

T = TypeVar("T")

_DEPTH = 8
_NEAR = 0.01
"""Seconds: an answer within them came from near by."""
_FEW = 4
"""Times as many as can be open: more are asked for several at a time, however near."""


class ReadAhead(Poured):
    """A `Readable` whose source is read by a thread into a few buffers that go round.

    What the source raises is raised by who reads; `close` ends the thread before it returns.
    """

    def __init__(self, source: Readable | Unpacked) -> None:
        self._source = source
        self._fill: Callable[[memoryview], bytes | memoryview]
        if isinstance(source, Unpacked):
            self._fill, size = lambda _: source.piece(), 0  # it stays as it is, and needs no buffer
        else:
            self._fill, size = lambda buffer: buffer[: source.readinto(buffer) or 0], BLOCK
        self._free: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[memoryview, bytes | memoryview] | BaseException] = queue.SimpleQueue()
        for _ in range(_DEPTH):
            self._free.put(memoryview(bytearray(size)))
        self._lent: memoryview | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="ashore-readahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while (buffer := self._free.get()) is not None:
                piece = self._fill(buffer)
                self._full.put((buffer, piece))
                if not piece:
                    return
        except BaseException as error:  # the reader's thread raises it
            self._full.put(error)

    def piece(self) -> bytes | memoryview:
        if self._ended:
            return b""
        if self._lent is not None:
            self._free.put(self._lent)
        found = self._full.get()
        if isinstance(found, BaseException):
            self._ended = True
            raise found
        self._lent, piece = found
        self._ended = not piece
        return piece

    def cut_off(self) -> None:
        cut_off(self._source)

    def close(self) -> None:
        if not self._ended:
            self.cut_off()  # the thread may wait long for what nobody wants
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait()
        self._free.put(None)
        self._thread.join()
        self._ended = True
        self._source.close()


def opened_ahead(
    open_it: Callable[[T], Readable | None],
    wanted: Sequence[T],
    most: int,
    clock: Callable[[], float] = time.monotonic,
    *,
    expect: Callable[[T], None] = lambda _item: None,
    soon: int = 1,
) -> Generator[tuple[T, Readable | None], None, None]:
    """Open each of `wanted`, in order, the next ones while one is read: at most `most` are open. A generator to close.

    Few that are answered at once are opened one after the other: threads cost more than they gain with a near
    registry. It is told to `expect` those whose turn comes `soon`. Who takes a stream closes it; what nobody took is
    closed here.
    """
    several = len(wanted) > _FEW * most
    for at, item in enumerate(wanted):
        if several:
            yield from _several(open_it, wanted[at:], most)
            return
        begun = clock()
        for coming in wanted[at + soon - 1 : at + soon] if at else wanted[:soon]:
            expect(coming)
        stream = open_it(item)
        several = clock() - begun >= _NEAR
        yield item, stream


def _several(
    open_it: Callable[[T], Readable | None], wanted: Sequence[T], most: int
) -> Generator[tuple[T, Readable | None], None, None]:
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[tuple[T, Future[Readable | None]]] = deque()
    rest = iter(wanted)
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="ashore-range") as pool:
        try:
            waiting += [(item, pool.submit(open_it, item)) for item in islice(rest, most)]
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
                waiting += [(item, pool.submit(open_it, item)) for item in islice(rest, 1)]
        finally:
            for _, future in waiting:
                if not future.cancel():
                    with contextlib.suppress(Exception):
                        if (stream := future.result()) is not None:
                            stream.close()
