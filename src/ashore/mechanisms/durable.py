# SPDX-License-Identifier: Apache-2.0
"""Files that must survive a power cut whole: written beside, synced, renamed; sealed with their own digest."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from ashore.errors import NOT_DECODED, ChangedError
from ashore.mechanisms import jsonpieces
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.nouns.digest import of

T = TypeVar("T")

_PLAIN, _ESCAPED = 1, 2
"""Schemas: with a name in it that is not UTF-8 the body is escaped, which an earlier ashore would take for the name."""
_WORTH_WRITING = 1 << 17
"""Bytes."""


class _Sealed(msgspec.Struct, frozen=True):
    """A state file: the body's digest, and the body. A torn or flipped byte anywhere does not pass."""

    schema: int
    digest: str
    body: msgspec.Raw


def replace(
    directory: int,
    name: str,
    data: bytes | Iterable[bytes],
    *,
    mode: int = 0o600,
    along: Sequence[tuple[str, str]] = (),
) -> None:
    """Make `name` hold `data`, piece by piece: after a crash it holds the old or the new bytes, never a mix.

    `along` are renames right after it, made durable by the same sync.

    Raises:
        OSError: nothing was changed, except perhaps a file ``.NAME.new`` left behind; or not all of `along` was done.
    """
    new = beside(name)
    descriptor = os.open(
        new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory
    )
    try:
        with closing(descriptor):
            for piece in (data,) if isinstance(data, bytes) else data:
                write_all(descriptor, piece)
            os.fsync(descriptor)
        for old, into in ((new, name), *along):
            os.rename(old, into, src_dir_fd=directory, dst_dir_fd=directory)
    except Exception:
        with contextlib.suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise
    os.fsync(directory)


def beside(path: str) -> str:
    """Where the new bytes of `path` are written first: a kill may leave that behind."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.new"


def remove(directory: int, name: str) -> None:
    """Remove `name`, for good; it may be gone already."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    os.fsync(directory)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte: `os.write` may stop early."""
    count = os.write(descriptor, data)
    if count < len(data):
        view = memoryview(data)[count:]
        while view:
            view = view[os.write(descriptor, view) :]


def read_all(directory: int, name: str, limit: int) -> bytes:
    """The content of `name`, at most `limit` bytes.

    Raises:
        OSError: it is missing or unreadable.
        ChangedError: it is larger than any state of ashore can be.
    """
    descriptor = os.open(name, READ_FILE | os.O_NONBLOCK, dir_fd=directory)
    with os.fdopen(descriptor, "rb", buffering=0) as file:  # a buffered one would make room for all that it may read
        data = file.readall() if os.fstat(descriptor).st_size <= limit else None
    if data is None or len(data) > limit:
        raise damaged(name, f"it is larger than {limit} bytes")
    return data


def seal(value: object) -> Iterator[bytes]:
    """`value` as a state file's bytes, in pieces."""
    hashed = hashlib.sha256()
    waiting, schema = bytearray(b'{"body":'), _PLAIN
    for piece in jsonpieces.pieces(value):
        hashed.update(piece)
        if jsonpieces.escaped(piece):
            schema = _ESCAPED
        waiting += piece
        if len(waiting) >= _WORTH_WRITING:
            yield bytes(waiting)
            waiting.clear()
    hashed.update(_told(schema))
    yield bytes(waiting) + b',"schema":%d,"digest":"sha256:%s"}\n' % (schema, hashed.hexdigest().encode())


def unseal(data: bytes, type_: type[T], name: str) -> T:
    """The value of a state file.

    Raises:
        ChangedError: the bytes are not what ashore wrote.
    """
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        if sealed.schema > _ESCAPED:
            raise damaged(name, f"it was written by a later ashore (schema {sealed.schema})")
        if of(bytes(sealed.body) + _told(sealed.schema)) != sealed.digest:
            raise damaged(name, "its content does not match its digest")
        if sealed.schema == _ESCAPED:
            return jsonpieces.plain(sealed.body, type_)
        return msgspec.json.decode(sealed.body, type=type_)
    except NOT_DECODED as error:
        raise damaged(name, str(error)) from error


def _told(schema: int) -> bytes:
    """What the digest is of beside the body: the schema too, where the body would be taken for another without it."""
    return b"" if schema == _PLAIN else b"%d" % schema


def damaged(name: str, cause: str) -> ChangedError:
    """A state file cannot be trusted: say so rather than take the host for a fresh one."""
    return ChangedError(
        f"ashore's state is damaged: {name}",
        cause=cause,
        remedy="restore this file of var/lib/ashore from a backup; the host's own files have not been touched",
    )
