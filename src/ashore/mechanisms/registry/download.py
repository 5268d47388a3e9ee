# SPDX-License-Identifier: Apache-2.0
"""Blobs on their way in: counted and hashed while they are read, resumed where they broke."""

import hashlib
import re
from collections.abc import Callable

from ashore.errors import VerificationError
from ashore.mechanisms.registry import retry
from ashore.mechanisms.registry.messages import Fault, Response
from ashore.mechanisms.registry.session import Call
from ashore.nouns import digest as digests
from ashore.nouns.image import Descriptor
from ashore.nouns.ports import Progress
from ashore.nouns.reference import ImageReference

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_BYTES_PER_RESUME = 64 * 1024 * 1024
"""A blob may break `retries` times, and once more for each of these."""

Open = Callable[[int], Response]
"""Opens a blob from an offset on; raises retry.Again or RegistryError. The answer may be a 200: the whole."""


class _Resumes:
    """How often one download may break, and go on from there."""

    def __init__(self, fault: Callable[[Fault], Exception], retries: retry.Retry, size: int) -> None:
        self._fault, self._retries = fault, retries
        self._most = retries.attempts + size // _BYTES_PER_RESUME
        self._broken = 0

    def reopened(self, fault: Fault, open_it: Callable[[], Response]) -> Response:
        """What goes on where `fault` ended it; `open_it` may raise `retry.Again`.

        Raises:
            RegistryError: it broke too often, or in a way that will not pass.
        """
        again = self._fault(fault)
        while True:
            if not isinstance(again, retry.Again):
                raise again
            if self._broken >= self._most:
                raise again.error
            self._broken += 1
            self._retries.pause(self._broken, again)
            try:
                return open_it()
            except retry.Again as another:
                again = another


class BlobStream:
    """A `ports.Stream` of one blob."""

    def __init__(
        self,
        descriptor: Descriptor,
        open_at: Open,
        *,
        fault: Callable[[Fault], Exception],
        retries: retry.Retry,
        progress: Progress | None,
    ) -> None:
        self._descriptor = descriptor
        self._open_at = open_at
        self._fault = fault
        self._resumes = _Resumes(fault, retries, descriptor.size)
        self._progress = progress
        self._name = digests.short(descriptor.digest)
        self._hash = hashlib.sha256()
        self._count = 0
        self._done = False
        self._response = retries.run(lambda: self._opened(0))
        if progress:
            progress.begin(self._name, descriptor.size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read some bytes; 0 at the end, when size and digest were found right.

        Raises:
            VerificationError: they are not right.
            RegistryError: the download broke too often.
        """
        if self._done or not len(buffer):
            return 0
        left = self._descriptor.size - self._count
        view = memoryview(buffer)[:left] if left else memoryview(bytearray(1))
        amount = self._received(view)
        if not amount:
            return self._end()
        if not left:
            raise self._wrong("it is longer than announced")
        self._hash.update(view[:amount])
        self._count += amount
        if self._progress:
            self._progress.advance(self._name, amount)
        if self._count == self._descriptor.size:
            self._check_digest()
        return amount

    def close(self) -> None:
        """Give the connection back, or drop it."""
        self._response.close()
        if self._progress and not self._done:
            self._progress.end(self._name)
        self._done = True

    def _received(self, view: memoryview) -> int:
        while True:
            try:
                amount = self._response.readinto(view)
            except Fault as fault:
                if self._count == self._descriptor.size:
                    return 0
                self._resume(fault)
                continue
            early = not amount and self._count < self._descriptor.size
            if not early or self._response.framed:
                return amount
            self._resume(Fault("reset", "the connection broke", self._response.url))

    def _end(self) -> int:
        if self._count < self._descriptor.size:
            raise self._wrong(f"only {self._count} bytes came")
        if not self._count:
            self._check_digest()
        self.close()
        return 0

    def _check_digest(self) -> None:
        if self._hash.hexdigest() != digests.hex_of(self._descriptor.digest):
            raise self._wrong(f"its bytes have the digest sha256:{self._hash.hexdigest()}")

    def _wrong(self, cause: str) -> VerificationError:
        self.close()
        return wrong(self._descriptor, cause)

    def _resume(self, fault: Fault) -> None:
        self._response = self._resumes.reopened(fault, lambda: self._opened(self._count))

    def _opened(self, start: int) -> Response:
        response = self._open_at(start)
        try:
            check_answer(response, self._descriptor, start)
            if response.status == 200 and start:
                response.skip(start)
        except Fault as fault:
            raise self._fault(fault) from fault
        except BaseException:
            response.close()
            raise
        return response


def wrong(descriptor: Descriptor, cause: str) -> VerificationError:
    """The error for a blob that is not what its descriptor says."""
    remedy = "the registry, or something on the way to it, changed it: nothing of it is used"
    return VerificationError(f"blob {descriptor.digest} is not what was asked for", cause=cause, remedy=remedy)


NO_PARTS = (416, 501)
"""Answers of who knows no ranges and does not pass over them either, as he should (RFC 9110, 14.2)."""


def range_call(descriptor: Descriptor, start: int, length: int, reference: ImageReference) -> Call:
    """Asks for a part of a blob of what `reference` names."""
    what = f"pull part of blob {digests.short(descriptor.digest)} of {reference}"
    headers = {"Range": f"bytes={start}-{start + length - 1}"}
    return Call(
        method="GET", path=f"blobs/{descriptor.digest}", what=what, expect=(200, 206, *NO_PARTS), headers=headers
    )


def check_answer(response: Response, descriptor: Descriptor, start: int, length: int | None = None) -> None:
    """Check what an answer announces, before any byte of it is read. `length` None: all from `start` on.

    Raises:
        VerificationError: it is encoded, of another size, or another range.
    """
    encoding = response.header("Content-Encoding").lower()
    if encoding not in ("", "identity"):
        raise wrong(descriptor, f"it comes encoded ({encoding[:20]!r}), which nobody asked for")
    size = descriptor.size
    wanted = size - start if length is None else length
    if response.status == 206:
        found = _CONTENT_RANGE.fullmatch(response.header("Content-Range"))
        if (
            not found
            or int(found[1]) != start
            or int(found[2]) != start + wanted - 1
            or found[3] not in ("*", str(size))
        ):
            raise wrong(descriptor, "another range came than was asked for")
    expected = size if response.status == 200 else wanted
    if response.length is not None and response.length != expected:
        raise wrong(descriptor, f"{response.length} bytes are announced, not {expected}")


class RangeStream:
    """A `ports.Stream` of part of a blob, resumed where it broke. Only its length is checked: who asks has a digest.

    `open_at` opens what is left after so many bytes of it; `response` is the answer for all of it.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        start: int,
        length: int,
        response: Response,
        open_at: Open,
        *,
        fault: Callable[[Fault], Exception],
        retries: retry.Retry,
    ) -> None:
        self._descriptor, self._start, self._length = descriptor, start, length
        self._open_at = open_at
        self._resumes = _Resumes(fault, retries, length)
        self._count = 0
        self._response = self._checked(response)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        while self._count < self._length:
            try:
                amount = self._response.readinto(memoryview(buffer)[: self._length - self._count])
            except Fault as fault:
                self._response = self._resumes.reopened(fault, lambda: self._checked(self._open_at(self._count)))
                continue
            if not amount and len(buffer):
                raise VerificationError("a part of a blob ends early")
            self._count += amount
            return amount
        return 0

    def close(self) -> None:
        self._response.close()

    def _checked(self, response: Response) -> Response:
        try:
            if response.status != 206:
                raise wrong(self._descriptor, "all of it came where a part was asked for")
            check_answer(response, self._descriptor, self._start + self._count, self._length - self._count)
        except VerificationError:
            response.close()
            raise
        return response
