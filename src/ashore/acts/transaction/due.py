# SPDX-License-Identifier: Apache-2.0
"""What could not be done when it was time, and is done with the first ashore on the booted host: once.

An offline root runs no trigger; a recovery in early boot has no network and waits for nobody.
"""

from collections.abc import Iterable

from ashore.acts.tools import Tools
from ashore.errors import AshoreError
from ashore.nouns.journal import Due

_SECONDS = 120.0


def put_off(tools: Tools, dues: Iterable[Due]) -> None:
    """Note what is to be done, durably; what is noted already is not noted again."""
    known = tools.history.due()
    wanted = tuple(dict.fromkeys((*known, *dues)))
    if wanted != known:
        tools.history.set_due(wanted)


def run_due(tools: Tools) -> None:
    """Do what is due, each once, and say what became of it. The lock is held. Nothing depends on it."""
    if not tools.live or tools.programs is None:
        return
    dues = tools.history.due()
    for number, due in enumerate(dues):
        tools.progress.say(f"{due.what}: due since {due.since}")
        line: dict[str, object] = {"time": tools.now(), "due": due.what, "since": due.since}
        try:
            line["output"] = tools.programs.run(
                due.command.argv, seconds=due.seconds or _SECONDS, stdin=due.command.stdin, env=dict(due.environment)
            )
        except AshoreError as error:
            line["failed"] = str(error)
            tools.progress.say(f"{due.what} failed: {error}")
        tools.history.audit(line)
        tools.history.set_due(dues[number + 1 :])
