# SPDX-License-Identifier: Apache-2.0
"""Blobs on their way in: counted and hashed while they are read, resumed where they broke."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable

from ashore.errors import ElsewhereError, RegistryError, VerificationError
from ashore.mechanisms.registry import retry
from ashore.mechanisms.registry.messages import Fault
from ashore.mechanisms.registry.places import Given, Places
from ashore.mechanisms.registry.session import Call, Session
from ashore.nouns import digest as digests
from ashore.nouns.image import Descriptor
from ashore.nouns.ports import Progress
from ashore.nouns.reference import ImageReference

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_BYTES_PER_RESUME = 64 * 1024 * 1024
"""A blob may break `retries` times, and once more for each of these."""

Open = Callable[[int], Given]
"""Opens a blob from an offset on, at the first place that gives it; the answer was `checked`.

Raises retry.Again, RegistryError or VerificationError.
"""


class _Source:
    """Who gives one download, and how often it may break and go on from there: at a mirror less often."""

    def __init__(self, places: Places, size: int, given: Given) -> None:
        self._places, self._more = places, size // _BYTES_PER_RESUME
        self._broken: Counter[Session] = Counter()
        self._givers: dict[Session, None] = {}
        self.take(given)

    @property
    def at(self) -> str:
        """Where it came from so far, for messages."""
        return " and".join(giver.at for giver in self._givers if giver.at)

    def take(self, given: Given) -> None:
        """Go on with that."""
        self.response = given.response
        self._giver = given.place
        self._givers[given.place] = None

    def reopen(self, fault: Fault, open_it: Callable[[], Given]) -> None:
        """Go on where `fault` ended it, at the next place if need be; `open_it` may raise `retry.Again`.

        Raises:
            RegistryError: it broke too often, or in a way that will not pass, and there is no other place.
        """
        place, again = self._giver, self._giver.fault(fault)
        while True:
            lasting = _lasting(again, self._broken[place] >= self._most(place))
            if lasting is not None:
                if not self._places.distrust([place], lasting):
                    raise lasting
            elif isinstance(again, retry.Again):
                self._broken[place] += 1
                place.retries.pause(self._broken[place], again)
            try:
                return self.take(open_it())
            except retry.Again as another:
                place, again = self._places.main, another

    def _most(self, place: Session) -> int:
        return place.retries.attempts and place.retries.attempts + self._more

    def distrust(self, error: VerificationError) -> bool:
        """What came is wrong: True if it may be asked for once more, elsewhere."""
        return self._places.distrust(self._givers, error)


def _lasting(error: Exception, too_often: bool) -> RegistryError | None:
    """The error, if it is none that is worth another attempt at the same place."""
    if isinstance(error, retry.Again):
        return error.error if too_often else None
    if isinstance(error, RegistryError):
        return error
    raise error


class BlobStream:
    """A `ports.Stream` of one blob."""

    def __init__(self, descriptor: Descriptor, open_at: Open, places: Places, progress: Progress | None) -> None:
        self._descriptor = descriptor
        self._open_at = open_at
        self._progress = progress
        self._name = digests.short(descriptor.digest)
        self._hash = hashlib.sha256()
        self._count = 0
        self._done = self._cut = False
        self._source = _Source(places, descriptor.size, places.main.retries.run(lambda: open_at(0)))
        if progress:
            progress.begin(self._name, descriptor.size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read some bytes; 0 at the end, when size and digest were found right.

        Raises:
            VerificationError: they are not right. ElsewhereError: but there is another place to ask.
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
        self._source.response.close()
        if self._progress and not self._done:
            self._progress.end(self._name)
        self._done = True

    def distrust(self) -> bool:
        """What came makes no sense: True if the blob may be asked for once more, elsewhere."""
        return self._source.distrust(wrong(self._descriptor, "it cannot be read", self._source.at))

    def cut_off(self) -> None:
        """Whoever waits for more of it in another thread waits no longer, and it does not go on."""
        self._cut = True
        self._source.response.cut_off()

    def _received(self, view: memoryview) -> int:
        while True:
            response = self._source.response
            if self._cut:
                raise RegistryError("nobody wants the rest")
            try:
                amount = response.readinto(view)
            except Fault as fault:
                if self._count == self._descriptor.size:
                    return 0
                self._resume(fault)
                continue
            early = not amount and self._count < self._descriptor.size
            if not early or response.framed:
                return amount
            self._resume(response.broke())

    def _end(self) -> int:
        if self._count < self._descriptor.size:
            raise self._wrong(f"only {self._count} bytes came")
        if not self._count:
            self._check_digest()
        self.close()
        return 0

    def _check_digest(self) -> None:
        if (found := digests.of_hash(self._hash)) != self._descriptor.digest:
            raise self._wrong(f"its bytes have the digest {found}")

    def _wrong(self, cause: str) -> VerificationError:
        self.close()
        error = wrong(self._descriptor, cause, self._source.at)
        if not self._source.distrust(error):
            return error
        return ElsewhereError(error.message, cause=error.cause, remedy=error.remedy)

    def _resume(self, fault: Fault) -> None:
        if not self._cut:
            self._source.reopen(fault, self._rest)

    def _rest(self) -> Given:
        if self._cut:
            raise RegistryError("nobody wants the rest")
        return self._open_at(self._count)


def wrong(descriptor: Descriptor, cause: str, at: str = "") -> VerificationError:
    """The error for a blob that is not what its descriptor says; `at`: where it came from."""
    remedy = "the registry, or something on the way to it, changed it: nothing of it is used"
    return VerificationError(f"blob {descriptor.digest}{at} is not what was asked for", cause=cause, remedy=remedy)


NO_PARTS = (416, 501)
"""Answers of who knows no ranges and does not pass over them either, as he should (RFC 9110, 14.2)."""


def range_call(descriptor: Descriptor, start: int, length: int, reference: ImageReference) -> Call:
    """Asks for a part of a blob of what `reference` names."""
    what = f"pull part of blob {digests.short(descriptor.digest)} of {reference}"
    headers = {"Range": f"bytes={start}-{start + length - 1}"}
    return Call(
        method="GET", path=f"blobs/{descriptor.digest}", what=what, expect=(200, 206, *NO_PARTS), headers=headers
    )


def checked(places: Places, given: Given, descriptor: Descriptor, start: int, length: int | None = None) -> Given:
    """`given`, if it announces what was asked for, before any byte of it is read. `length` None: all from `start` on.

    Then a whole blob is read to `start`. An answer that says there are no parts announces nothing to check.

    Raises:
        VerificationError: it is encoded, of another size, or another range.
        retry.Again, RegistryError: it broke at once.
    """
    response = given.response
    if response.status in NO_PARTS:
        return given
    try:
        _check_answer(given, descriptor, start, length)
        if length is None and start and response.status == 200:
            response.skip(start)
    except Fault as fault:
        raise places.fault(given.place, fault) from fault
    except BaseException:
        response.close()
        raise
    return given


def partly(given: Given, descriptor: Descriptor) -> Given:
    """`given`, if it is a part of a blob and not all of it.

    Raises:
        VerificationError: it is all of it.
    """
    if given.response.status != 206:
        given.response.close()
        raise wrong(descriptor, "all of it came where a part was asked for", given.place.at)
    return given


def _check_answer(given: Given, descriptor: Descriptor, start: int, length: int | None) -> None:
    response, at = given.response, given.place.at
    encoding = response.header("Content-Encoding").lower()
    if encoding not in ("", "identity"):
        raise wrong(descriptor, f"it comes encoded ({encoding[:20]!r}), which nobody asked for", at)
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
            raise wrong(descriptor, "another range came than was asked for", at)
    expected = size if response.status == 200 else wanted
    if response.length is not None and response.length != expected:
        raise wrong(descriptor, f"{response.length} bytes are announced, not {expected}", at)


class RangeStream:
    """A `ports.Stream` of part of a blob, resumed where it broke. Only its length is checked: who asks has a digest.

    `open_at` opens what is left after so many bytes of it; `given` is the answer for all of it.
    """

    def __init__(self, descriptor: Descriptor, length: int, given: Given, open_at: Open, places: Places) -> None:
        self._descriptor, self._length = descriptor, length
        self._open_at = open_at
        self._source = _Source(places, length, given)
        self._count = 0

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        while self._count < self._length:
            response = self._source.response
            try:
                amount = response.readinto(memoryview(buffer)[: self._length - self._count])
            except Fault as fault:
                self._resume(fault)
                continue
            if amount or not len(buffer):
                self._count += amount
                return amount
            if response.framed:
                raise VerificationError("a part of a blob ends early")
            self._resume(response.broke())
        return 0

    def close(self) -> None:
        self._source.response.close()

    def distrust(self) -> bool:
        """What came makes no sense: True if the part may be asked for once more, elsewhere."""
        return self._source.distrust(wrong(self._descriptor, "a part of it is wrong", self._source.at))

    def _resume(self, fault: Fault) -> None:
        self._source.reopen(fault, lambda: self._open_at(self._count))
