# SPDX-License-Identifier: Apache-2.0
"""Manifests and indexes of a repository, by tag or digest: asked for, held to their size and digest, and kept."""

from ashore.errors import InputError
from ashore.mechanisms.registry import manifests
from ashore.mechanisms.registry.messages import Fault
from ashore.mechanisms.registry.places import Places
from ashore.mechanisms.registry.session import Call, Session
from ashore.nouns import digest as digests
from ashore.nouns.digest import Digest
from ashore.nouns.image import Descriptor
from ashore.nouns.limits import Limits
from ashore.nouns.reference import ImageReference

_KEPT = 16
_NO_HEAD = (400, 403, 405, 501)


class Documents:
    """Those of the image that `reference` names, and what else lies beside it."""

    def __init__(self, reference: ImageReference, limits: Limits) -> None:
        self._reference, self._limits = reference, limits
        self._found: dict[Digest, tuple[str, bytes]] = {}

    def glimpse(self, places: Places) -> Descriptor | None:
        """What the reference's tag names, by HEAD; None where that does not say enough."""
        return places.first(self._head)

    def find(self, places: Places, name: str) -> Descriptor:
        """What a tag or digest names; `read` has it then."""
        media_type, data = self._ask(places, name)
        return Descriptor(media_type=media_type, digest=digests.of(data), size=len(data))

    def read(self, places: Places, digest: Digest) -> tuple[str, bytes]:
        """Media type and bytes of what has that digest."""
        return self._found.get(digest) or self._ask(places, digest)

    def _ask(self, places: Places, name: str) -> tuple[str, bytes]:
        document = places.first(lambda session: self._get(session, name))
        if len(self._found) < _KEPT:
            self._found[digests.of(document[1])] = document
        return document

    def _head(self, session: Session) -> Descriptor | None:
        path = f"manifests/{self._reference.tag}"
        what = f"find {self._reference}"
        call = Call(method="HEAD", path=path, what=what, expect=(200, 404, *_NO_HEAD), headers=manifests.ACCEPT)
        answer = session.call(call)
        if answer.status == 404:
            # Only a GET has the registry's own words: no such tag, or no such repository.
            self._get(session, self._reference.tag)
        size, digest = answer.header("Content-Length"), answer.header("Docker-Content-Digest")
        if answer.status != 200 or not size.isdecimal() or not answer.header("Content-Type"):
            return None
        try:
            checked, media_type = digests.parse(digest), manifests.media_type(answer, b"", self._reference)
        except InputError:
            return None  # a vague type, say: the document tells
        self._check_size(int(size[:20]))
        return Descriptor(media_type=media_type, digest=checked, size=int(size))

    def _get(self, session: Session, name: str) -> tuple[str, bytes]:
        what = f"pull {self._reference}" if name == self._reference.tag else f"pull {self._reference} ({name})"
        path, headers = f"manifests/{name}", manifests.ACCEPT
        call = Call(method="GET", path=path, what=what, expect=(200, 404), headers=headers, document=True)

        def once() -> tuple[str, bytes]:
            answer = session.attempt(call)
            if answer.status == 404:
                answer.close()
                raise manifests.missing(self._reference, name, session.source)
            self._check_size(answer.length or 0)
            try:
                data = answer.read(self._limits.manifest)
            except Fault as fault:
                raise session.fault(fault) from fault
            self._check_size(len(data))
            media_type = manifests.media_type(answer, data, self._reference)
            if ":" in name and digests.of(data) != name:
                raise manifests.not_as_named(name, digests.of(data), session.at)
            return media_type, data

        return session.retries.run(once)

    def _check_size(self, size: int) -> None:
        if size > self._limits.manifest:
            raise InputError(
                f"the manifest of {self._reference} is too large", cause=f"the limit is {self._limits.manifest} bytes"
            )
