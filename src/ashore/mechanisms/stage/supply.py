# SPDX-License-Identifier: Apache-2.0
"""Where content comes from, by digest: what was rendered, fetched, stored, or lies on the host already."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from ashore.errors import DamagedContentError, UnchangedError
from ashore.mechanisms import durable
from ashore.mechanisms.attributes import give
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.mechanisms.stage.loose import Loose
from ashore.mechanisms.stage.staging import Staging
from ashore.mechanisms.state.content import ContentStore, copy, hash_file
from ashore.nouns.digest import Digest, hex_of
from ashore.nouns.files import Entry

Opener = Callable[[Digest], int | None]
"""Opens a content for reading; None where it has it not. What is read is checked by who reads it."""


def rendered(contents: Mapping[Digest, bytes]) -> Opener:
    """Contents in memory: rendered templates."""

    def open_it(digest: Digest) -> int | None:
        data = contents.get(digest)
        if data is None:
            return None
        descriptor = os.memfd_create("ashore", os.MFD_CLOEXEC)
        durable.write_all(descriptor, data)
        return descriptor

    return open_it


def checked(opener: Opener) -> Opener:
    """As `opener`, and read before somebody gets it: None for what is not as its digest says, or cannot be read."""

    def open_it(digest: Digest) -> int | None:
        descriptor = opener(digest)
        if descriptor is None:
            return None
        with contextlib.suppress(OSError):  # of a FIFO, say, or of a disk that fails
            if hash_file(descriptor)[0] == digest:
                return descriptor
        os.close(descriptor)
        return None

    return open_it


def lying(host: Beneath, paths: Callable[[], Mapping[Digest, str]]) -> Opener:
    """Contents that lie on the host, at these physical paths, if nobody changed them."""

    def open_it(digest: Digest) -> int | None:
        path = paths().get(digest)
        if path is None:
            return None
        try:
            return host.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None

    return checked(open_it)


class Supply:
    """All places that may have a content, the cheapest first."""

    def __init__(self, openers: Sequence[Opener]) -> None:
        self._openers = list(openers)

    def offer(self, contents: Mapping[Digest, bytes]) -> None:
        """What was made of others is to be had here as well."""
        self._openers.insert(0, rendered(contents))

    def fall_back(self, opener: Opener) -> None:
        """One more place, for what all others lack."""
        self._openers.append(opener)

    def open(self, digest: Digest) -> int | None:
        for opener in self._openers:
            if (descriptor := opener(digest)) is not None:
                return descriptor
        return None

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that are nowhere: a network would be needed."""
        gone = []
        for digest in digests:
            descriptor = self.open(digest)
            if descriptor is None:
                gone.append(digest)
            else:
                os.close(descriptor)
        return gone

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """The first `limit` bytes of a content; None where it is nowhere."""
        descriptor = self.open(digest)
        if descriptor is None:
            return None
        with closing(descriptor):
            return os.pread(descriptor, limit, 0)

    def text(self, digest: Digest, limit: int) -> str:
        """As `read`, as text; empty where it is nowhere."""
        return (self.read(digest, limit) or b"").decode(errors="replace")


def place(staging: Staging, store: ContentStore, supply: Supply, entry: Entry, area: int, path: str) -> Loose:
    """Have an inode for `path` in the staging folder `area` with the content, owner, mode and attributes of `entry`.

    Without copying where that can be: a fetched file of the same mount is used as it is, and a stored one
    is moved out of the store (it lies on the host afterwards, or goes back).

    Raises:
        UnchangedError: the content is nowhere.
        DamagedContentError: it is not what its digest says.
    """
    loose = staging.claim(entry.digest, area, path)
    if loose is not None and staging.is_as(loose, entry):
        staging.lend(entry.digest, loose)
        return loose
    if loose is not None:
        name = loose.name
        descriptor = os.open(name, READ_FILE, dir_fd=staging.fd(area))
    else:
        name, descriptor = _from_store(staging, store, entry.digest, area) or _copied(
            staging, store, supply, entry.digest, area
        )
    with closing(descriptor):
        inode = give(descriptor, entry)
    placed = Loose(area, name, inode, entry.mode, entry.uid, entry.gid)
    staging.lend(entry.digest, placed)
    return placed


def _from_store(staging: Staging, store: ContentStore, digest: Digest, area: int) -> tuple[str, int] | None:
    """Its name in the area, and a descriptor; None where it has to be copied."""
    descriptor = store.open(digest) if staging.is_own(area) else None
    if descriptor is None:
        return None
    try:
        if hash_file(descriptor)[0] == digest:
            name = f"c{hex_of(digest)}"
            store.give(digest, staging.fd(area), name)
            return name, descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _copied(staging: Staging, store: ContentStore, supply: Supply, digest: Digest, area: int) -> tuple[str, int]:
    """Its name in the area, and a descriptor."""
    source = supply.open(digest) or staging.open_loose(digest)
    if source is None:
        raise UnchangedError(f"the content {digest} is nowhere on this host")
    name = staging.name("s")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(name, flags, 0o600, dir_fd=staging.fd(area))
    try:
        found, _ = copy(source, target)
        if found != digest:
            store.discard(digest)
            raise DamagedContentError(
                f"the stored content {digest} is damaged",
                cause=f"it is {found}",
                remedy="it was dropped; run it again, and the registry is asked for it",
            )
    except BaseException:
        os.close(target)
        raise
    finally:
        os.close(source)
    return name, target
