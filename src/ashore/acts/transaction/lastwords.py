# SPDX-License-Identifier: Apache-2.0
"""What units that did not come up said last: most often that is the cause."""

import math
from collections.abc import Sequence

import msgspec

from ashore.acts.tools import Tools
from ashore.errors import AshoreError, Issue
from ashore.nouns.files import printable
from ashore.nouns.units import UNIT_SUFFIXES

_MOST_UNITS = 3
"""The host waits for its way back meanwhile."""
_SECONDS = 5.0
_LINES = 2
_LONGEST = 200


def with_last_words(tools: Tools, issues: Sequence[Issue], since: float) -> list[Issue]:
    """`issues` about units, the first few with the last lines that each wrote to the journal after `since` (uptime)."""
    asked = [_with_words(tools, issue, since) for issue in issues[:_MOST_UNITS]]
    return [*asked, *issues[_MOST_UNITS:]]


def _with_words(tools: Tools, issue: Issue, since: float) -> Issue:
    words = _last_words(tools, issue.where, since) if issue.where.endswith(UNIT_SUFFIXES) else ""
    return msgspec.structs.replace(issue, message=f"{issue.message}; it said: {words}") if words else issue


def _last_words(tools: Tools, unit: str, since: float) -> str:
    """Of its own processes: what PID 1 says of it, the issue says already. Empty where the journal cannot be asked."""
    program = tools.programs.find("journalctl") if tools.programs is not None and tools.live else ""
    if not program or tools.programs is None:
        return ""
    began = math.ceil(tools.uptime() - since) + 1
    which = (f"--since=-{began}s", f"--lines={_LINES}", f"_SYSTEMD_UNIT={unit}")
    try:
        said = tools.programs.run((program, "--quiet", "--no-pager", "--output=cat", *which), seconds=_SECONDS)
    except AshoreError:
        return ""
    lines = [line.strip() for line in said.splitlines()]
    return " / ".join(printable(line[:_LONGEST]) for line in [line for line in lines if line][-_LINES:])
