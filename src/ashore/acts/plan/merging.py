# SPDX-License-Identifier: Apache-2.0
"""What somebody changed on the host and what a new version changes, in one text: read, merged, and ready to place."""

from collections.abc import Mapping

from ashore.acts.tools import Tools
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.digest import Digest, of
from ashore.nouns.files import Entry, FileSet, Kind, Seen
from ashore.nouns.generation import FileRecord
from ashore.rules.files.threeway import LARGEST, Answer, Answers, Question, Refusal, questions


def merge_edits(
    tools: Tools,
    desired: FileSet,
    records: Mapping[str, FileRecord],
    seen: Mapping[str, Seen],
    packaged: Mapping[str, Entry | None],
    supply: Supply,
) -> Answers:
    """An answer for each path of a plan that two sides changed; `supply` has the merged contents from then on."""
    contents: dict[Digest, bytes] = {}
    answers = {
        question.path: _answer(tools, question, supply, contents)
        for question in questions(desired, records, seen, packaged)
    }
    if contents:
        supply.offer(contents)
    return answers


def can_merge(tools: Tools, path: str, record: FileRecord, ours: Entry, supply: Supply) -> Refusal | None:
    """Why the version that waits for a path cannot be merged with what lies there; None if it can."""
    base, theirs = record.placed, record.entry
    if {base.kind, ours.kind, theirs.kind} != {Kind.FILE}:
        return Refusal.KIND
    return _answer(tools, Question(path=path, base=base, ours=ours, theirs=theirs), supply, {}).refusal


def _answer(tools: Tools, question: Question, supply: Supply, contents: dict[Digest, bytes]) -> Answer:
    # Imported late: difflib, for the few hosts that have something to merge.
    from ashore.rules.files.merge import merge

    if max(question.base.size, question.ours.size, question.theirs.size) > LARGEST:
        return Answer(refusal=Refusal.LARGE)
    base, theirs = _stored(supply, question.base), _stored(supply, question.theirs)
    if base is None or theirs is None:
        return Answer(refusal=Refusal.GONE)
    ours = _lying(tools, question)
    if ours is None:
        return Answer(refusal=Refusal.MOVING)
    merged = merge(base, ours, theirs)
    if isinstance(merged, Refusal):
        return Answer(refusal=merged)
    digest = of(merged)
    contents[digest] = merged
    return Answer(digest=digest, size=len(merged))


def _stored(supply: Supply, entry: Entry) -> bytes | None:
    """A content that is what its digest says: it may have lain in the store for years."""
    data = supply.read(entry.digest, entry.size + 1)
    return data if data is not None and of(data) == entry.digest else None


def _lying(tools: Tools, question: Question) -> bytes | None:
    """What was seen on the host, if it still is that."""
    try:
        data = tools.host.read_bytes(question.path, LARGEST + 1)
    except OSError:
        return None
    return data if of(data) == question.ours.digest else None
