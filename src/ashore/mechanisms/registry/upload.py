# SPDX-License-Identifier: Apache-2.0
"""Blobs on their way out (distribution-spec, "Pushing blobs"): small ones whole, large ones in chunks."""

import contextlib
import re
from collections.abc import Iterator

from ashore.errors import RegistryError
from ashore.mechanisms.registry import retry
from ashore.mechanisms.registry.failures import NotFoundError
from ashore.mechanisms.registry.messages import Response
from ashore.mechanisms.registry.session import Call, Session
from ashore.mechanisms.registry.urls import Url
from ashore.nouns import digest as digests
from ashore.nouns.image import Descriptor
from ashore.nouns.limits import MIB
from ashore.nouns.ports import Progress, Stream

CHUNK = 8 * MIB
"""What is held in memory, so that it can be sent again. A blob that fits is sent whole."""
_LARGEST_CHUNK = 64 * MIB
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_BYTES = {"Content-Type": "application/octet-stream"}
_NO_CHUNKS = (400, 404, 405, 411, 415, 501)
"""What registries say that take no PATCH, or none with a Content-Range."""


class Upload:
    """One blob to one repository."""

    def __init__(self, session: Session, descriptor: Descriptor, stream: Stream, progress: Progress | None) -> None:
        self._session = session
        self._descriptor = descriptor
        self._stream = stream
        self._progress = progress
        self._what = (
            f"push blob {digests.short(descriptor.digest)} to {session.source.host}/{session.source.repository}"
        )

    def run(self) -> None:
        """Send it.

        Raises:
            RegistryError: the registry does not take it.
            VerificationError: `stream` is not what the descriptor says; nothing is stored then.
        """
        first = self._read(CHUNK)
        name = digests.short(self._descriptor.digest)
        if self._progress:
            self._progress.begin(name, self._descriptor.size)
        if len(first) < CHUNK:
            self._whole(first)
        else:
            self._chunked(first)
        if self._progress:
            self._progress.end(name)

    def _whole(self, data: bytes) -> None:
        self._session.retries.run(lambda: self._whole_once(data))
        self._advance(len(data))

    def _whole_once(self, data: bytes) -> None:
        url, _ = self._start()
        answer = self._session.attempt(self._last(url, data))
        self._check(answer)

    def _chunked(self, first: bytes) -> None:
        url, least = self._start_repeated()
        size = min(max(CHUNK, least), _LARGEST_CHUNK)
        chunk = first + (self._read(size - len(first)) if size > len(first) else b"")
        offset = 0
        while chunk:
            moved = self._chunk(url, chunk, offset)
            if moved is None:
                self._streamed(chunk)
                return
            url, offset = moved, offset + len(chunk)
            self._advance(len(chunk))
            chunk = self._read(size)
        try:
            self._check(self._session.call(self._last(url, b"")))
        except NotFoundError:
            # The answer to an earlier attempt was lost: it is there, and the upload is over.
            if not has_blob(self._session, self._descriptor):
                raise

    def _chunk(self, url: Url, chunk: bytes, offset: int) -> Url | None:
        """Send one chunk, the rest of it again where it broke. None: the registry takes no chunks at all."""
        sent, number, retries = 0, 0, self._session.retries
        while sent < len(chunk):
            number += 1
            try:
                answer = self._session.attempt(self._patch(url, chunk[sent:], offset + sent))
            except retry.Again as again:
                if number > retries.attempts:
                    raise again.error from again
                retries.pause(number, again)
                answer = self._session.call(self._call("GET", url, 204))
            if answer.status in _NO_CHUNKS:
                answer.close()
                if offset or sent:
                    raise RegistryError(f"cannot {self._what}: the registry takes no further chunk ({answer.status})")
                return None
            sent = self._received(answer, offset, len(chunk)) - offset
            if sent < len(chunk) and number > retries.attempts:
                raise RegistryError(f"cannot {self._what}: the registry keeps too little of what is sent")
            url = self._session.located(answer, self._what)
            answer.close()
        return url

    def _received(self, answer: Response, offset: int, length: int) -> int:
        """How many bytes of the blob the registry has, by its word, which must fit to what was sent."""
        found = _RANGE.fullmatch(answer.header("Range"))
        if not found:
            return offset + length if answer.status == 202 else offset
        end = int(found[1])
        total = end + 1 if end else 0  # an empty upload is 0-0
        if not offset <= total <= offset + length:
            raise RegistryError(f"cannot {self._what}: the registry lost what was sent before")
        return total

    def _streamed(self, first: bytes) -> None:
        """Whole, for registries without chunks. It cannot be repeated: the stream is read once."""
        url, _ = self._start_repeated()
        call = Call(
            method="PUT",
            path=url.query(digest=self._descriptor.digest),
            what=self._what,
            expect=(201, 204),
            headers=_BYTES,
            body=self._pieces(first),
            length=self._descriptor.size,
            repeat=False,
        )
        self._check(self._session.call(call))

    def _pieces(self, piece: bytes) -> Iterator[bytes]:
        """`piece` and what follows; the last one leaves only after all was verified."""
        while piece:
            following = self._read(MIB)
            yield piece
            self._advance(len(piece))
            piece = following

    def _read(self, amount: int) -> bytes:
        """The next `amount` bytes of the stream, fewer at its end only."""
        data = memoryview(bytearray(min(amount, self._descriptor.size + 1)))
        filled = 0
        while filled < len(data) and (got := self._stream.readinto(data[filled:])):
            filled += got
        return bytes(data[:filled])

    def _start_repeated(self) -> tuple[Url, int]:
        return self._session.retries.run(self._start)

    def _start(self) -> tuple[Url, int]:
        """Open an upload: where to send, and the least size of a chunk."""
        answer = self._session.attempt(self._call("POST", "blobs/uploads/", 202))
        answer.close()
        least = answer.header("OCI-Chunk-Min-Length")
        return self._session.located(answer, self._what), int(least) if re.fullmatch(r"[0-9]{1,12}", least) else 0

    def _patch(self, url: Url, data: bytes, offset: int) -> Call:
        headers = _BYTES | {"Content-Range": f"{offset}-{offset + len(data) - 1}"}
        return Call(method="PATCH", path=url, what=self._what, expect=(202, *_NO_CHUNKS), headers=headers, body=data)

    def _last(self, url: Url, data: bytes) -> Call:
        return Call(
            method="PUT",
            path=url.query(digest=self._descriptor.digest),
            what=self._what,
            expect=(201, 204),
            headers=_BYTES,
            body=data,
        )

    def _call(self, method: str, path: str | Url, *expect: int) -> Call:
        return Call(method=method, path=path, what=self._what, expect=expect)

    def _check(self, answer: Response) -> None:
        answer.read(0)
        check_stored(answer, self._descriptor.digest, self._what)

    def _advance(self, amount: int) -> None:
        if self._progress:
            self._progress.advance(digests.short(self._descriptor.digest), amount)


def has_blob(session: Session, descriptor: Descriptor) -> bool:
    """Whether the repository says it has the blob, with the right size if it names one."""
    what = f"look for blob {digests.short(descriptor.digest)} at {session.source.host}/{session.source.repository}"
    call = Call(method="HEAD", path=f"blobs/{descriptor.digest}", what=what, expect=(200, 404))
    answer = session.call(call)
    return answer.status == 200 and answer.header("Content-Length") in ("", str(descriptor.size))


def mount(session: Session, digest: digests.Digest, from_repository: str) -> bool:
    """Ask the registry to take a blob over from another repository of its own; False if it does not."""
    what = f"mount blob {digests.short(digest)} from {from_repository}"
    path = f"blobs/uploads/?mount={digest}&from={from_repository}"
    also = (f"repository:{from_repository}:pull",)
    answer = session.call(Call(method="POST", path=path, what=what, expect=(201, 202, 401, 403, 404, 405), also=also))
    answer.close()
    if answer.status == 202:
        # It opened an upload instead, which nobody needs.
        with contextlib.suppress(RegistryError):  # in time the registry drops it by itself
            url = session.located(answer, what)
            done = tuple(range(200, 600))
            session.call(Call(method="DELETE", path=url, what=what, expect=done, also=also, repeat=False)).close()
    return answer.status == 201


def check_stored(answer: Response, digest: str, what: str) -> None:
    """A registry that names another digest than was sent did not store what was sent.

    The digest it names is never used for anything else.
    """
    said = answer.header("Docker-Content-Digest")
    if said.startswith("sha256:") and said != digest:
        raise RegistryError(f"cannot {what}: the registry stored something else", cause=f"{said[:71]!r}, not {digest}")
