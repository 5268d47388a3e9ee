# SPDX-License-Identifier: Apache-2.0
"""The seams: small Protocols that acts are given. Each has a real thing and a fake, under one contract suite."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ashore.nouns.digest import Digest
from ashore.nouns.image import Descriptor, Referrers
from ashore.nouns.units import JobResult, UnitAction, UnitState


class Stream(Protocol):
    """Bytes that are counted and hashed while they are read.

    `readinto` returns 0 only after size and digest were found right; else it raises VerificationError.
    """

    def readinto(self, buffer: bytearray | memoryview, /) -> int: ...
    def close(self) -> None: ...


class ImageReader(Protocol):
    """An image somewhere: a repository of a registry, a layout, an archive."""

    def resolve(self) -> Descriptor:
        """What the reference names now: a manifest or an index. One request; nothing is believed but its shape."""
        ...

    def manifest(self, digest: Digest) -> tuple[str, bytes]:
        """Media type and bytes of a manifest or index, its digest checked."""
        ...

    def blob(self, descriptor: Descriptor) -> Stream:
        """A blob, checked against `descriptor` while it is read; broken downloads are resumed."""
        ...


@runtime_checkable
class RangedReader(ImageReader, Protocol):
    """A reader of what is far away, that may give parts of a blob."""

    def resolve_whole(self) -> Descriptor:
        """As `resolve`, and `manifest` has the document then: one request where both are wanted."""
        ...

    def blob_range(self, descriptor: Descriptor, start: int, length: int) -> Stream | None:
        """`length` bytes from `start` on, their number checked, nothing else; None if it gives only the whole."""
        ...

    def once(self) -> "RangedReader":
        """The same one, which does not try again what failed: for what can be done without."""
        ...

    def expect_range(self, descriptor: Descriptor, start: int, length: int) -> None:
        """The same will be asked for soon, or not: may be used to be quicker then."""
        ...


@runtime_checkable
class ReferrerReader(ImageReader, Protocol):
    """A reader that can tell what refers to an image."""

    def referrers(self, subject: Digest, *, artifact_type: str = "", by_tag: bool = False) -> Referrers:
        """What refers to the manifest `subject`; all, or those of a type with perhaps others among them.

        `by_tag`: it is known that there is no list.
        """
        ...

    def tagged(self, tag: str) -> Descriptor | None:
        """What another tag names, in the same place; `manifest` has it then. None: there is none."""
        ...


class ImageWriter(Protocol):
    """A place for an image. Blobs first, then manifests, an index last."""

    def has_blob(self, descriptor: Descriptor) -> bool: ...

    def put_blob(self, descriptor: Descriptor, stream: Stream) -> None: ...

    def put_manifest(self, media_type: str, data: bytes, *, named: bool) -> Digest:
        """Store a manifest or index; `named`: it is what the reference shall point at."""
        ...


@runtime_checkable
class ReferrerWriter(ImageWriter, Protocol):
    """A writer that takes manifests which refer to an image."""

    def put_referrer(self, subject: Digest, descriptor: Descriptor, data: bytes) -> None:
        """Store a manifest, whose blobs are there, and have it listed as what refers to `subject`."""
        ...

    def there_tagged(self, tag: str) -> bytes | None:
        """The manifest that another tag names there already, empty where it is not one; None: there is nothing."""
        ...

    def put_tagged(self, tag: str, media_type: str, data: bytes) -> None:
        """Store a manifest, whose blobs are there, under another tag in the same place."""
        ...


class Systemd(Protocol):
    """PID 1 of a live root. Every call has a deadline of its own and raises nothing but AshoreError."""

    def states(self, units: Iterable[str]) -> Mapping[str, UnitState]:
        """The state of each unit, ``not-found`` included. Where there is none, nothing is asked."""
        ...

    def listed(self) -> tuple[str, ...]:
        """The names of all units that run or have failed, instances of templates included."""
        ...

    def running(self) -> tuple[str, ...]:
        """The names of all units that run, or have a job to."""
        ...

    def daemon_reload(self) -> None: ...

    def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        """Queue the actions' jobs together and wait for each result, at most `deadline` seconds; what is
        not done then is cancelled and reported as ``timeout``."""
        ...

    def start_later(self, units: Iterable[str]) -> None:
        """Queue starts and wait for none: what does not start says so itself."""
        ...

    def run_later(self, actions: Sequence[UnitAction]) -> None:
        """Queue the actions' jobs and wait for none: they may have to wait for whoever asks."""
        ...

    def start_service(self, unit: str, argv: Sequence[str], description: str) -> None:
        """Have a transient service run `argv`, and again if it is killed; wait for nothing. One that runs stays."""
        ...

    def reset_failed(self, units: Iterable[str]) -> None: ...


Identity = tuple[int, int]
"""A file's device and inode, as stat(2) has them."""


class Processes(Protocol):
    """The processes of a live root."""

    def mapping(self, files: Mapping[Identity, str], *, gone: bool = False) -> Mapping[str, tuple[str, ...]]:
        """Which of `files` (paths by identity) are in memory, by the unit whose processes have them there:
        a service, a scope, ``init.scope`` for PID 1, or nothing.

        `gone`: only those that were deleted, or moved aside by ashore: numbers of inodes are used again.
        """
        ...


class Programs(Protocol):
    """The programs of a host."""

    def find(self, name: str) -> str:
        """Where a program lies, by its name, or by its path; empty if the host has none of it."""
        ...

    def run(self, argv: Sequence[str], *, seconds: float, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run one, at most `seconds`; return the end of what it said. Raises AshoreError with what it said as
        cause, if it is not there, takes longer or fails."""
        ...


class Progress(Protocol):
    """Where long work tells how far it is. Amounts are bytes."""

    def begin(self, name: str, total: int) -> None: ...
    def advance(self, name: str, amount: int) -> None: ...
    def end(self, name: str) -> None: ...
    def say(self, line: str) -> None: ...


class ContentFile(Protocol):
    """A file's content on its way in. Ends with `commit` or `abort`."""

    def write(self, data: bytes | memoryview, /) -> None: ...

    def commit(self, digest: Digest, size: int) -> None:
        """All was written, and this is what it hashed to."""
        ...

    def abort(self) -> None: ...


class ContentSink(Protocol):
    """Where the files of an image go while its layers stream by: staging, a cache, memory."""

    def create(self, path: str, size: int) -> ContentFile:
        """Begin the content of `path` (below the bundle's tree in the image), `size` bytes as announced."""
        ...

    def discard(self, path: str) -> None:
        """A later layer replaced or removed `path`: its content is not needed."""
        ...
