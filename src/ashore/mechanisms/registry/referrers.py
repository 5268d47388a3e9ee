# SPDX-License-Identifier: Apache-2.0
"""What refers to an image in a registry: listed, and added to.

Source: OCI distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers Tag Schema":
a registry without the list has an index under a tag that is named like the subject.
"""

import re
from collections.abc import Iterator

import msgspec

from ashore.errors import NOT_DECODED, RegistryError
from ashore.mechanisms.registry import manifests, urls
from ashore.mechanisms.registry.messages import Fault, Response
from ashore.mechanisms.registry.session import Call, Session
from ashore.mechanisms.registry.urls import Url
from ashore.nouns import digest as digests
from ashore.nouns.digest import Digest
from ashore.nouns.image import INDEXES, OCI_INDEX, Descriptor, Referrers, referrers_tag
from ashore.nouns.limits import Limits

_NO_LIST = (400, 404, 405, 406, 410, 501)
"""Answers of registries that have no list. One that has it never answers 404."""
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')


class _Page(msgspec.Struct):
    manifests: tuple[msgspec.Raw, ...] = ()


class How(msgspec.Struct, frozen=True):
    """Of which type, empty for any; `by_tag` where a registry is known to have no list."""

    artifact_type: str
    by_tag: bool


def listed(session: Session, subject: Digest, limits: Limits, how: How) -> Referrers:
    """What refers to `subject`, at most as many as the limits allow.

    Raises:
        RegistryError: nobody answers.
    """
    what = f"list what refers to {digests.short(subject)} at {session.source.host}/{session.source.repository}"
    first = Call(
        method="GET",
        path=f"referrers/{subject}{f'?artifactType={how.artifact_type}' if how.artifact_type else ''}",
        what=what,
        expect=(200, *_NO_LIST),
        document=True,
    )
    found = None if how.by_tag else _pages(session, first, limits)
    if found is not None:
        return Referrers(found=found)
    call = msgspec.structs.replace(first, path=f"manifests/{referrers_tag(subject)}", headers=manifests.ACCEPT)
    with_tag = _page(session, session.call(call), limits) or ()
    return Referrers(found=_descriptors(with_tag, limits), by_tag=True)


def add(session: Session, subject: Digest, descriptor: Descriptor, limits: Limits) -> None:
    """Have `descriptor` in the index under the subject's tag.

    Raises:
        RegistryError: the tag is something else, or cannot be written.
    """
    tag = referrers_tag(subject)
    what = f"add to {session.source.host}/{session.source.repository}:{tag}"
    answer = session.call(
        Call(method="GET", path=f"manifests/{tag}", what=what, expect=(200, 404), headers=manifests.ACCEPT)
    )
    entries: list[object] = []
    if answer.status == 200:
        if answer.header("Content-Type").partition(";")[0].strip() not in INDEXES:
            raise RegistryError(f"cannot {what}: it is no list of referrers")
        page = _page(session, answer, limits)
        if page is None:  # what others put there must not get lost
            raise RegistryError(f"cannot {what}: its list of referrers is too large, or malformed")
        entries = [msgspec.json.decode(raw) for raw in page]
    else:
        answer.close()
    added = msgspec.to_builtins(descriptor)
    entries = [entry for entry in entries if not _same(entry, descriptor.digest)] + [added]
    data = msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    headers = {"Content-Type": OCI_INDEX}
    call = Call(method="PUT", path=f"manifests/{tag}", what=what, expect=(201,), headers=headers, body=data)
    session.call(call).read(0)


def _same(entry: object, digest: Digest) -> bool:
    return isinstance(entry, dict) and entry.get("digest") == digest


def _pages(session: Session, call: Call, limits: Limits) -> tuple[Descriptor, ...] | None:
    """All pages of a list; None where there is no list."""
    found: list[msgspec.Raw] = []
    for _ in range(limits.referrer_pages):
        answer = session.call(call)
        following = answer.headers("Link")
        page = _page(session, answer, limits)
        if page is None:
            return None
        found += page
        further = next(_further(answer, following), None)
        if further is None or len(found) >= limits.referrers:
            break
        call = msgspec.structs.replace(call, path=further)
    return _descriptors(found, limits)


def _page(session: Session, answer: Response, limits: Limits) -> tuple[msgspec.Raw, ...] | None:
    """The entries of an index; None where the answer is none."""
    if answer.status != 200:
        answer.close()
        return None
    try:
        data = answer.read(limits.manifest)
    except Fault as fault:
        raise RegistryError(f"the list of referrers of {session.source.host} broke off", cause=fault.text) from fault
    try:
        return msgspec.json.decode(data, type=_Page).manifests if len(data) <= limits.manifest else None
    except NOT_DECODED:
        return None


def _further(answer: Response, headers: list[str]) -> Iterator[Url]:
    """Where the list goes on: at the same registry, or nowhere."""
    for header in headers:
        for target in _NEXT.findall(header):
            try:
                url = urls.join(answer.url, target)
            except ValueError:
                continue
            if url.origin == answer.url.origin:
                yield url


def _descriptors(entries: "list[msgspec.Raw] | tuple[msgspec.Raw, ...]", limits: Limits) -> tuple[Descriptor, ...]:
    """Those that can be read; what others put beside them is no concern of ours."""
    found = []
    for raw in entries[: limits.referrers]:
        try:
            found.append(msgspec.json.decode(raw, type=Descriptor))
        except NOT_DECODED:
            continue
    return tuple(found)
