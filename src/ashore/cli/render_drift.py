# SPDX-License-Identifier: Apache-2.0
"""How a host differs from its generation, as text and as JSON. Pure."""

from collections.abc import Iterator

from ashore.cli.render_plan import entry_json
from ashore.nouns.files import Entry, Kind, format_mode, printable, shown
from ashore.nouns.owners import Owners
from ashore.rules.files.drift import Drift, Verdict


def drift_text(item: Drift, *, named: bool = True) -> str:
    """One difference for people; `named` with its bundle."""
    what = str(item.verdict)
    if item.verdict is Verdict.OUTDATED:
        what = f"{printable(item.unit)} runs by an older file"
    elif item.unit:
        what = f"{printable(item.unit)} is {item.verdict}"
    kept = " and kept" if item.known and item.next is None else ""
    then = f"; {item.next}" if item.next is not None else ""
    waits = "; a new version is pending" if item.pending else ""
    return f"{shown(item.path)}{f' ({item.bundle})' if named else ''}: {what}{kept}{then}{waits}"


def drift_json(item: Drift) -> dict[str, object]:
    """The same for programs (docs/reference/json.md)."""
    return {
        "path": shown(item.path),
        "bundle": item.bundle,
        "verdict": item.verdict,
        "kept": item.known,
        "pending": item.pending,
        "unit": item.unit,
        "next": item.next.name.lower() if item.next is not None else "",
    }


def difference_json(item: Drift, diff: str) -> dict[str, object]:
    """The same, with what was edited: its unified `diff`, and what was placed and what lies there."""
    old, new = (entry_json(entry, secret=item.secret) for entry in (item.old, item.new))
    return drift_json(item) | {"diff": diff, "old": old, "new": new}


def attributes_text(item: Drift, owners: Owners) -> str:
    """Mode, owner and extended attributes as they were placed and as they are; empty where they are the same."""
    if item.old is None or item.new is None:
        return ""
    return "; ".join(map(printable, _attributes(item.old, item.new, owners)))


def _attributes(old: Entry, new: Entry, owners: Owners) -> Iterator[str]:
    if old.kind is not new.kind:
        yield f"{old.kind} -> {new.kind}"
    if (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid) and Kind.SYMLINK not in (old.kind, new.kind):
        yield " -> ".join(f"{format_mode(one.mode)} {owners.of(one.uid, one.gid)}" for one in (old, new))
    elif (old.uid, old.gid) != (new.uid, new.gid):  # a symlink's mode says nothing
        yield " -> ".join(owners.of(one.uid, one.gid) for one in (old, new))
    for name in sorted(old.xattrs.keys() | new.xattrs.keys()):
        if old.xattrs.get(name) != new.xattrs.get(name):
            yield f"{name} {'added' if name not in old.xattrs else 'changed' if name in new.xattrs else 'removed'}"
