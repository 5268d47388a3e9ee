# SPDX-License-Identifier: Apache-2.0
"""A path's version, the host's edit of it, and a new version: what becomes of the three. Pure.

Where one side kept what the other changed there is nothing to ask; texts that both changed are merged by who can
read them (`acts.plan.merging`), who is asked here and answers with a digest.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, FileSet, Kind, OnEdit, Seen, Wanted
from ashore.nouns.generation import FileRecord

LARGEST = 1 << 20
"""Bytes: beyond this nobody merges by hand either."""


class Refusal(StrEnum):
    """Why a merge is left to people."""

    OVERLAP = "both changed the same lines"
    BINARY = "it is no text"
    LARGE = "it is too large to merge"
    GONE = "one of the versions to compare is not on this host"
    KIND = "it is no plain file"
    MOVING = "it changed while it was read"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Three contents, all different: is there one that has both changes?"""

    path: str
    base: Entry
    ours: Entry
    theirs: Entry


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The merged content, or why there is none."""

    digest: Digest = Digest("")
    size: int = 0
    refusal: Refusal | None = None


Answers = Mapping[str, Answer]
"""By path."""


def is_base(path: str, entry: Entry, on_edit: OnEdit) -> bool:
    """Whether the store keeps a copy of what was placed here: edits are compared, and merged, with it."""
    return merges(path, on_edit) and entry.kind is Kind.FILE and entry.size <= LARGEST


def merges(path: str, on_edit: OnEdit) -> bool:
    """Whether edits at a path may be merged, whatever lies there."""
    return path.startswith("etc/") or on_edit is OnEdit.MERGE


def default_policy(path: str) -> OnEdit:
    """What to do with an edit where nobody says: configuration is merged, anything else is left as it is."""
    return OnEdit.MERGE if path.startswith("etc/") else OnEdit.KEEP


def aim(wanted: Wanted) -> Entry:
    """What shall lie there: the bundle's version, or the edit of it that a rollback brings back."""
    return wanted.edit or wanted.entry


def base_of(wanted: Wanted, record: FileRecord) -> Entry:
    """What the host's content is compared with: who brings back an edit goes by what ashore itself laid there."""
    return (record.put if wanted.edit is not None else None) or record.placed


def questions(
    desired: FileSet,
    records: Mapping[str, FileRecord],
    seen: Mapping[str, Seen],
    packaged: Mapping[str, Entry | None],
) -> Iterator[Question]:
    """What has to be merged, of all paths of a plan; `packaged` is what packages had placed at those taken over."""
    for path, base in packaged.items():
        if base is not None and desired[path].on_edit is OnEdit.MERGE and desired[path].edit is None:
            yield Question(path=path, base=base, ours=seen[path].entry, theirs=desired[path].entry)
    for path, wanted in desired.items():
        record = records.get(path)
        if wanted.on_edit is not OnEdit.MERGE or wanted.settled or wanted.decided is not None:
            continue
        if record is None or path not in seen:
            continue
        base, ours, theirs = base_of(wanted, record), seen[path].entry, aim(wanted)
        files = base.kind is ours.kind is theirs.kind is Kind.FILE
        if files and len({base.digest, ours.digest, theirs.digest}) == 3:
            yield Question(path=path, base=base, ours=ours, theirs=theirs)


def three_way(base: Entry, ours: Entry, theirs: Entry, answer: Answer | None) -> Entry | Refusal:
    """What shall lie where `ours` does: both changes of `base`, content as well as mode, owner and attributes.

    `answer` is that to the `Question` of these three, None where there was none to ask.
    """
    if theirs.same_content(ours) or ours.same_content(base):
        content = theirs
    elif theirs.same_content(base):
        content = ours
    elif answer is None:
        return Refusal.KIND
    elif answer.refusal is not None:
        return answer.refusal
    else:
        content = msgspec.structs.replace(theirs, digest=answer.digest, size=answer.size)
    return dressed(content, base, ours, theirs)


def dressed(content: Entry, base: Entry, ours: Entry, theirs: Entry) -> Entry:
    """`content` with each of mode, owner and attributes as somebody on the host set it, else as `theirs` has it."""
    if not (content.kind is base.kind is ours.kind):
        return content
    names = {*ours.xattrs, *theirs.xattrs}
    xattrs = {name: value for name in names if (value := _attribute(name, base, ours, theirs)) is not None}
    changed = msgspec.structs.replace(
        content,
        mode=theirs.mode if ours.mode == base.mode else ours.mode,
        uid=theirs.uid if ours.uid == base.uid else ours.uid,
        gid=theirs.gid if ours.gid == base.gid else ours.gid,
        xattrs=xattrs,
        link="",
    )
    return theirs if changed.same(theirs) else changed


def _attribute(name: str, base: Entry, ours: Entry, theirs: Entry) -> bytes | None:
    mine = ours.xattrs.get(name)
    return theirs.xattrs.get(name) if mine == base.xattrs.get(name) else mine
