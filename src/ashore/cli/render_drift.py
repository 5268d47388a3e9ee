# SPDX-License-Identifier: Apache-2.0
"""How a host differs from its generation, as text and as JSON. Pure."""

from ashore.nouns.files import printable, shown
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
