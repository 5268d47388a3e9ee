# SPDX-License-Identifier: Apache-2.0
"""The unified diffs of a plan's changed texts: from what lies on the host to what would."""

from collections.abc import Iterator

from ashore.acts.tools import Tools
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, shown
from ashore.nouns.plan import Plan, Step
from ashore.rules.files.diffs import is_binary, unified


def differences(tools: Tools, plan: Plan, supply: Supply) -> dict[str, str]:
    """By path; files over the limit of a template, and secret ones, are only said to differ."""
    found = {}
    for step, old, new in _changed(plan):
        if not _is_small(tools, old, new):
            found[step.path] = f"large file: {old.size} -> {new.size} bytes"
            continue
        before = _lying(tools, step)
        if before is None:
            continue
        # Of what becomes of a binary file nothing is shown, so that it need not be fetched.
        after = b"" if is_binary(before) else supply.read(new.digest, tools.limits.template)
        if after is None:
            found[step.path] = "its new content is no longer on this host: it would be fetched"
            continue
        label = shown(step.path)
        found[step.path] = unified(before, after, old_label=label, new_label=label, secret=step.secret)
    return found


def compared(tools: Tools, plan: Plan) -> set[Digest]:
    """The contents that `differences` asks the supply for."""
    small = ((step, new) for step, old, new in _changed(plan) if _is_small(tools, old, new))
    return {new.digest for step, new in small if (data := _lying(tools, step)) is not None and not is_binary(data)}


def _changed(plan: Plan) -> Iterator[tuple[Step, Entry, Entry]]:
    """Files that become other files: each step with the old and the new one."""
    for step in plan.steps:
        old, new = step.old, step.new
        if old is None or new is None or (old.kind, new.kind) != (Kind.FILE, Kind.FILE) or old.digest == new.digest:
            continue
        yield step, old, new


def _is_small(tools: Tools, old: Entry, new: Entry) -> bool:
    return max(old.size, new.size) <= tools.limits.template


def _lying(tools: Tools, step: Step) -> bytes | None:
    try:
        return tools.host.read_bytes(step.path, tools.limits.template)
    except OSError:
        return None
