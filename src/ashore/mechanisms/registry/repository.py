# SPDX-License-Identifier: Apache-2.0
"""A repository of a registry as a place for images (OCI distribution-spec 1.1)."""

import copy
import threading

from ashore.errors import ElsewhereError, InputError
from ashore.mechanisms.images.streams import BytesStream, read_all
from ashore.mechanisms.registry import referrers, retry, upload, urls
from ashore.mechanisms.registry.documents import Documents
from ashore.mechanisms.registry.download import BlobStream, RangeStream, checked, partly, range_call
from ashore.mechanisms.registry.failures import NotFoundError
from ashore.mechanisms.registry.messages import Response
from ashore.mechanisms.registry.places import Given, Places
from ashore.mechanisms.registry.policy import TlsPolicy
from ashore.mechanisms.registry.session import Call, Session
from ashore.mechanisms.registry.settings import RegistrySettings
from ashore.mechanisms.registry.transport import Transport
from ashore.nouns import digest as digests
from ashore.nouns.digest import Digest
from ashore.nouns.image import Descriptor, Referrers
from ashore.nouns.limits import Limits
from ashore.nouns.ports import Progress, Stream
from ashore.nouns.reference import ImageReference

_MIRROR_ATTEMPTS = 1
_MIRROR_PATIENCE = 1.0
"""Seconds: a mirror that asks for a longer pause has the next place asked instead."""


def open_repository(
    reference: ImageReference, settings: RegistrySettings, *, push: bool = False, progress: Progress | None = None
) -> "Repository":
    """The repository that `reference` names, by way of registries.conf. Nothing is asked yet.

    Raises:
        InputError: registries.conf cannot be used.
        BlockedError: it blocks this registry.
    """
    registries = settings.registries()
    sources = registries.sources(reference, push=push)
    written = {urls.parse(f"https://{source.host}").host_port: source.host for source in sources}
    transport = Transport(settings.config_root, settings.environ, settings.limits, settings.sleep, written)
    store = settings.credentials(registries.helpers)
    sessions = [
        Session(
            TlsPolicy(source=source, registries=registries),
            transport=transport,
            store=store,
            limits=settings.limits,
            retries=retry.Retry(
                attempts=settings.limits.retries if source is sources[-1] else _MIRROR_ATTEMPTS,
                patience=float("inf") if source is sources[-1] else _MIRROR_PATIENCE,
                sleep=settings.sleep,
                jitter=settings.jitter,
                say=progress.say if progress else lambda _line: None,
            ),
            push=push,
            name=reference.place,
        )
        for source in sources
    ]
    return Repository(reference, Places(sessions), transport, settings.limits, progress)


class Repository:
    """`ports.ImageReader` and `ports.ImageWriter` over a registry. Made by `open_repository`."""

    def __init__(
        self,
        reference: ImageReference,
        places: Places,
        transport: Transport,
        limits: Limits,
        progress: Progress | None,
    ) -> None:
        self._reference = reference
        self.places = places
        self._transport = transport
        self._limits = limits
        self._progress = progress
        self._documents = Documents(reference, limits)
        self._no_ranges = threading.Event()
        """Set when it turned out to give no parts of blobs."""
        self._whole: dict[Digest, Given] = {}
        """Answers that have the whole blob where a part was asked for, not read yet."""

    def close(self) -> None:
        """Close all connections that are not in use."""
        while self._whole:
            self._whole.popitem()[1].response.close()
        self._transport.close()

    def once(self) -> "Repository":
        """The same one, which does not try again what failed."""
        made = copy.copy(self)
        made.places = self.places.once()
        return made

    def resolve(self) -> Descriptor:
        """What the reference names now. HEAD, or GET where HEAD does not say enough or a digest is to be checked.

        Raises:
            RegistryError: nobody answers, or there is no such tag.
            VerificationError: the reference's digest does not hold.
            InputError: what lies there is no image, or over a limit.
        """
        found = None if self._reference.digest else self._documents.glimpse(self.places)
        return found or self.resolve_whole()

    def resolve_whole(self) -> Descriptor:
        """As `resolve`, by GET: `manifest` has it then."""
        wanted = self._reference.digest
        name = str(wanted or self._reference.tag)
        return self._documents.find(self.places, name)

    def tagged(self, tag: str) -> Descriptor | None:
        """What another tag of the repository names; `manifest` has it then. None: there is none."""
        try:
            return self._documents.find(self.places.for_tags(), tag)
        except NotFoundError:
            return None

    def manifest(self, digest: Digest) -> tuple[str, bytes]:
        """Media type and bytes of a manifest or index.

        Raises:
            RegistryError, VerificationError, InputError: as `resolve`.
        """
        return self._documents.read(self.places, digest)

    def blob(self, descriptor: Descriptor) -> Stream:
        """A blob; a broken download goes on where it broke. A small one from a mirror is whole before it is read.

        Raises:
            RegistryError: nobody answers, or it is not there. Its `readinto` also VerificationError.
        """
        while self.places.mirrors and descriptor.size <= self._limits.manifest:
            try:
                return BytesStream(read_all(self._stream(descriptor), limit=self._limits.manifest, name="a blob"))
            except ElsewhereError:
                continue  # the mirror was given up
        return self._stream(descriptor)

    def _stream(self, descriptor: Descriptor) -> BlobStream:
        what = f"pull blob {digests.short(descriptor.digest)} of {self._reference}"
        places = self.places

        def open_at(start: int) -> Given:
            if not start and (begun := self._whole.pop(descriptor.digest, None)) is not None:
                return begun
            headers = {"Range": f"bytes={start}-"} if start else {}
            expect = (200, 206) if start else (200,)
            call = Call(method="GET", path=f"blobs/{descriptor.digest}", what=what, expect=expect, headers=headers)
            return places.first(lambda place: checked(places, places.attempt(place, call), descriptor, start))

        return BlobStream(descriptor, open_at, places, self._progress)

    def blob_range(self, descriptor: Descriptor, start: int, length: int) -> Stream | None:
        """`length` bytes of a blob from `start` on, unverified but for their number; None if it gives only the whole.

        Raises:
            RegistryError, VerificationError: it answers with something else.
        """
        if self._no_ranges.is_set():
            return None
        places = self.places

        def right(given: Given, done: int) -> Given:
            return checked(places, given, descriptor, start + done, length - done)

        def call(done: int) -> Call:
            return range_call(descriptor, start + done, length - done, self._reference)

        given = places.first(lambda place: right(Given(place.call(call(0)), place), 0))
        if given.response.status != 206:
            # Whoever asked will read the blob as a whole then: an answer of 200 that has begun is that.
            self._no_ranges.set()
            self._keep_whole(descriptor.digest, given)
            return None

        def again(done: int) -> Given:
            return places.first(
                lambda place: right(partly(places.attempt(place, call(done)), descriptor), done),
            )

        return RangeStream(descriptor, length, given, again, places)

    def expect_range(self, descriptor: Descriptor, start: int, length: int) -> None:
        """Ask for it now, if that is free: `blob_range` finds it answered."""
        if not self._no_ranges.is_set():
            (*self.places.mirrors, self.places.main)[0].ask_ahead(
                range_call(descriptor, start, length, self._reference)
            )

    def referrers(self, subject: Digest, *, artifact_type: str = "", by_tag: bool = False) -> Referrers:
        """What refers to `subject`, as the first source that answers has it."""
        how = referrers.How(artifact_type=artifact_type, by_tag=by_tag)
        return self.places.first(lambda session: referrers.listed(session, subject, self._limits, how))

    def put_referrer(self, subject: Digest, descriptor: Descriptor, data: bytes) -> None:
        """Store a manifest that refers to `subject`, and list it where the registry does not do so by itself."""
        answer = self._put(descriptor.media_type, data, descriptor.digest)
        if answer.header("OCI-Subject") != subject:
            referrers.add(self.places.main, subject, descriptor, self._limits)

    def there_tagged(self, tag: str) -> bytes | None:
        """What another tag names; None where there is none."""
        found = self.tagged(tag)
        return None if found is None else self.manifest(found.digest)[1]

    def put_tagged(self, tag: str, media_type: str, data: bytes) -> None:
        """Store a manifest under another tag of the repository."""
        self._put(media_type, data, tag)

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the repository has it, by its own word."""
        return upload.has_blob(self.places.main, descriptor)

    def put_blob(self, descriptor: Descriptor, stream: Stream) -> None:
        """Send a blob. `stream` is read to its end, so that nothing unverified is ever completed there."""
        upload.Upload(self.places.main, descriptor, stream, self._progress).run()

    def mount(self, digest: Digest, from_repository: str) -> bool:
        """Take a blob over from another repository of the same registry; False where that is not possible."""
        return upload.mount(self.places.main, digest, from_repository)

    def put_manifest(self, media_type: str, data: bytes, *, named: bool) -> Digest:
        """Store a manifest or index; `named`: under the reference's tag.

        Raises:
            RegistryError: the registry does not take it.
            InputError: the reference is pinned to another digest.
        """
        digest = digests.of(data)
        if named and self._reference.digest not in (None, digest):
            raise InputError(f"{self._reference} pins another digest", cause=f"the image is {digest}")
        self._put(media_type, data, (named and self._reference.tag) or digest)
        return digest

    def _put(self, media_type: str, data: bytes, name: str) -> Response:
        digest = digests.of(data)
        what = f"push {f'manifest {digests.short(digest)} of ' if name == digest else ''}{self._reference}"
        headers = {"Content-Type": media_type}
        call = Call(method="PUT", path=f"manifests/{name}", what=what, expect=(201,), headers=headers, body=data)
        answer = self.places.main.call(call)
        answer.read(0)
        upload.check_stored(answer, digest, what)
        return answer

    def _keep_whole(self, digest: Digest, given: Given) -> None:
        if (before := self._whole.pop(digest, None)) is not None:
            before.response.close()
        if given.response.status == 200:
            self._whole[digest] = given
        else:
            given.response.close()
