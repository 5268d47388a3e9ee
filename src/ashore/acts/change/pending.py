# SPDX-License-Identifier: Apache-2.0
"""New versions that wait for a decision: which, how they differ from what lies there, and the decision."""

from collections.abc import Sequence

import msgspec

from ashore.acts.change.install import change
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.wishes import Target
from ashore.acts.fetch.bases import on_host
from ashore.acts.fetch.places import Place
from ashore.acts.plan.desire import as_recorded
from ashore.acts.plan.merging import can_merge
from ashore.acts.tools import Tools
from ashore.errors import InputError, Issue, UsageError
from ashore.mechanisms.host.observe import observe
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.files import Decided, Kind, OnEdit, Seen, shown
from ashore.nouns.generation import EMPTY, FileRecord, Generation, Verb

_VERBS = {Decided.TAKE: Verb.TAKE, Decided.KEEP: Verb.KEEP}


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A path whose new version waits."""

    path: str
    bundle: str
    verdict: str
    """What was done to it on this host: ``edited`` or ``deleted``."""
    reason: str
    """Why the new version was not placed."""


def pending(tools: Tools) -> tuple[Pending, ...]:
    """All paths whose new version waits."""
    current = tools.history.current()
    waiting = {path: record for path, record in sorted(current.files.items()) if record.pending}
    seen = observe(tools.host, waiting, current.files)
    supply = Supply(on_host(tools, current))
    return tuple(_pending(tools, path, record, seen.get(path), supply) for path, record in waiting.items())


def show(tools: Tools, path: str) -> tuple[Pending, str]:
    """One of them, with the unified diff from what lies on the host to the version that waits.

    Raises:
        UsageError: nothing waits for that path.
        InputError: the version that waits is not to be had.
    """
    current = tools.history.current()
    (physical,) = _waiting(tools, current, [path])
    (item,) = (item for item in pending(tools) if item.path == physical)
    return item, _difference(tools, physical, current.files[physical], Supply(on_host(tools, current)))


def settle(tools: Tools, paths: Sequence[str], decided: Decided) -> Outcome:
    """Place the versions that wait for `paths`, or have them wait no longer.

    Raises:
        UsageError: nothing waits for one of the paths; all that it is true of.
        AshoreError: as `install`.
    """
    if tools.state.fd is None:
        _waiting(tools, EMPTY, paths)  # nothing waits where ashore never was, and it is not to be there for saying so

    def wish(current: Generation, _place: Place, _salt: bytes) -> Target:
        settled = set(_waiting(tools, current, paths))
        parts = []
        for bundle in current.bundles:
            part = as_recorded(current, bundle.name)
            wanted = (msgspec.structs.replace(w, decided=decided) if w.path in settled else w for w in part.wanted)
            parts.append(msgspec.structs.replace(part, wanted=tuple(wanted)))
        return Target(parts=tuple(parts))

    return change(tools, _VERBS[decided], wish)


def _waiting(tools: Tools, current: Generation, paths: Sequence[str]) -> list[str]:
    found, issues = [], []
    for path in paths:
        physical = tools.host.physical(path.strip("/"))
        record = current.files.get(physical)
        if record is not None and record.pending:
            found.append(physical)
        else:
            why = "no bundle owns it" if record is None else "no new version waits for it"
            issues.append(Issue(where=shown(path.strip("/")), message=why))
    if issues:
        raise UsageError("there is nothing to decide", remedy="ashore pending lists what waits", issues=issues)
    return found


def _pending(tools: Tools, path: str, record: FileRecord, seen: Seen | None, supply: Supply) -> Pending:
    if seen is None:
        return Pending(path=path, bundle=record.bundle, verdict="deleted", reason="it was deleted on this host")
    return Pending(path=path, bundle=record.bundle, verdict="edited", reason=_reason(tools, path, record, seen, supply))


def _reason(tools: Tools, path: str, record: FileRecord, seen: Seen, supply: Supply) -> str:
    if record.on_edit is not OnEdit.MERGE:
        return f"on_edit is {record.on_edit}"
    refusal = can_merge(tools, path, record, seen.entry, supply)
    return str(refusal) if refusal is not None else f"it can be merged now: ashore upgrade {record.bundle}"


def _difference(tools: Tools, path: str, record: FileRecord, supply: Supply) -> str:
    from ashore.rules.files.diffs import unified

    label, limit = shown(path), tools.limits.template
    lies = tools.host.lstat(path)
    if record.entry.kind is not Kind.FILE:
        return f"the new version is a symlink to {record.entry.target}\n"
    after = supply.read(record.entry.digest, limit + 1)
    if after is None:
        raise InputError(
            f"the new version of {label} is not on this host", remedy=f"ashore pending take {label} fetches it"
        )
    if max(len(after), lies.st_size if lies is not None else 0) > limit:
        return f"large file: the new version has {record.entry.size} bytes\n"
    try:
        before = tools.host.read_bytes(path, limit) if lies is not None else None
    except OSError as error:
        return f"what lies there cannot be compared: {error.strerror}\n"
    return unified(before, after, old_label=label, new_label=label, secret=record.secret)
