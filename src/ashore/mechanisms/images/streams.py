# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way: counted, hashed, never believed before the end was seen."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ashore.errors import AshoreError, InputError, VerificationError, words_of
from ashore.nouns.digest import Digest, of_hash
from ashore.nouns.limits import KIB

BLOCK = 256 * KIB
DAMAGED = "it is damaged: get or build the image again"


class Readable(Protocol):
    """Anything that fills a buffer: 0 is the end. `ports.Stream` is one; so is an unbuffered file."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None: ...
    def close(self) -> None: ...


@runtime_checkable
class Distrustable(Protocol):
    """A stream that may come from more than one place."""

    def distrust(self) -> bool:
        """What came makes no sense: True if the same may be asked for once more, and then comes from elsewhere."""
        ...


def distrusted(stream: object) -> bool:
    """Say that what `stream` gave makes no sense; True if the same may be asked for once more, elsewhere."""
    return isinstance(stream, Distrustable) and stream.distrust()


@runtime_checkable
class Stoppable(Protocol):
    """A stream that may wait for its next bytes."""

    def cut_off(self) -> None:
        """What it waits for does not come: whoever reads it is not kept, and only closes it. From another thread."""
        ...


def cut_off(stream: object) -> None:
    """Let nobody wait for `stream` any longer."""
    if isinstance(stream, Stoppable):
        stream.cut_off()


class Pieces(Protocol):
    """Bytes as they come, so that nobody copies them: each is valid until the next is asked for. Empty: the end."""

    def piece(self) -> bytes | memoryview: ...
    def close(self) -> None: ...


class Unpacked(ABC):
    """`Pieces` that stay as they are."""

    @abstractmethod
    def piece(self) -> bytes: ...

    @abstractmethod
    def close(self) -> None: ...


class Poured(ABC):
    """Makes what gives pieces a `Readable` as well."""

    _rest = memoryview(b"")

    @abstractmethod
    def piece(self) -> bytes | memoryview: ...

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        if not self._rest:
            self._rest = memoryview(self.piece())
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class Buffered:
    """Pieces of a `Readable`, in one buffer."""

    def __init__(self, source: Readable) -> None:
        self._source, self._buffer = source, memoryview(bytearray(BLOCK))
        self.close = source.close

    def piece(self) -> memoryview:
        return self._buffer[: self._source.readinto(self._buffer) or 0]

    def cut_off(self) -> None:
        cut_off(self._source)


def in_pieces(source: Readable) -> Pieces:
    """`source`, by its own pieces if it has them."""
    return source if isinstance(source, Poured) else Buffered(source)


class BytesStream:
    """A `Readable` over bytes in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._rest = memoryview(data)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._rest = memoryview(b"")


class Part:
    """The next `length` bytes of a stream, which stays open."""

    def __init__(self, source: Readable, length: int) -> None:
        self._source, self._left = source, length

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._source.readinto(memoryview(buffer)[: self._left]) or 0 if self._left else 0
        self._left -= count
        return count

    def close(self) -> None:
        """Pass over what is left of it."""
        rest = bytearray(min(self._left, BLOCK))
        while self._left and self.readinto(rest):
            pass


class CountedHashed:
    """Makes any `Readable` a `ports.Stream`: the end is only reached when size and digest are right."""

    def __init__(self, source: Readable, *, digest: Digest, size: int, name: str) -> None:
        self._source, self._digest, self._size, self._name = source, digest, size, name
        self._hash = hashlib.sha256()
        self._count = 0

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        try:
            count = self._source.readinto(buffer) or 0
        except OSError as error:
            raise AshoreError(f"cannot read {self._name}", cause=words_of(error)) from error
        if count:
            self._count += count
            self._hash.update(memoryview(buffer)[:count])
        if self._count > self._size or (not count and self._count != self._size):
            raise VerificationError(
                f"{self._name} has the wrong size",
                cause=f"{self._size} bytes were announced, {'more' if count else self._count} came",
                remedy=DAMAGED,
            )
        if not count and (found := of_hash(self._hash)) != self._digest:
            raise VerificationError(
                f"{self._name} has the wrong digest", cause=f"{self._digest} expected, {found} came", remedy=DAMAGED
            )
        return count

    def close(self) -> None:
        self._source.close()


class Told:
    """A stream that tells how much of it was read."""

    def __init__(self, source: Readable, tell: Callable[[int], object]) -> None:
        self._source, self._tell = source, tell

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._source.readinto(buffer) or 0
        self._tell(count)
        return count

    def cut_off(self) -> None:
        cut_off(self._source)

    def close(self) -> None:
        self._source.close()


def pipe(source: Readable, write: Callable[[memoryview], object]) -> int:
    """Hand everything in `source` to `write`, block by block, and return how many bytes that were."""
    buffer = memoryview(bytearray(BLOCK))
    total = 0
    while count := source.readinto(buffer):
        write(buffer[:count])
        total += count
    return total


def read_all(source: Readable, *, limit: int, name: str) -> bytes:
    """Everything in `source`, closed afterwards.

    Raises:
        InputError: it is more than `limit` bytes.
    """
    data = bytearray()

    def add(block: memoryview) -> None:
        data.extend(block)
        if len(data) > limit:
            raise InputError(f"{name} is too large", cause=f"at most {limit} bytes are read")

    try:
        pipe(source, add)
    finally:
        source.close()
    return bytes(data)
