# SPDX-License-Identifier: Apache-2.0
"""The unified diffs of a plan's changed texts: from what lies on the host to what would."""

from ashore.acts.tools import Tools
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.files import Kind, shown
from ashore.nouns.plan import Plan
from ashore.rules.files.diffs import unified


def differences(tools: Tools, plan: Plan, supply: Supply) -> dict[str, str]:
    """By path; files over the limit of a template, and secret ones, are only said to differ."""
    found = {}
    for step in plan.steps:
        old, new = step.old, step.new
        if old is None or new is None or (old.kind, new.kind) != (Kind.FILE, Kind.FILE) or old.digest == new.digest:
            continue
        limit = tools.limits.template
        if max(old.size, new.size) > limit:
            found[step.path] = f"large file: {old.size} -> {new.size} bytes"
            continue
        try:
            before = tools.host.read_bytes(step.path, limit)
        except OSError:
            continue
        label = shown(step.path)
        found[step.path] = unified(
            before, supply.read(new.digest, limit) or b"", old_label=label, new_label=label, secret=step.secret
        )
    return found
