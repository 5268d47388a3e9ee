# SPDX-License-Identifier: Apache-2.0
"""A change that is kept is watched on, by a service of its own, until the time of all that it started is over.

Nobody waits for that and nothing is locked (docs/adr/0015-late-failures-go-back.md).
"""

import contextlib
from collections.abc import Collection

import msgspec

from ashore.acts.tools import Tools
from ashore.errors import AshoreError, words_of
from ashore.mechanisms.pid1 import watched as record
from ashore.nouns.duration import after
from ashore.nouns.generation import Generation, Verb
from ashore.nouns.late import Late, watch_unit
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.units.health import Watched
from ashore.rules.units.late import brought_up_again, to_watch_on

_VERBS = frozenset({Verb.INSTALL, Verb.UPGRADE, Verb.FOLLOW})
"""What brings a version that nobody has seen here. Who goes back, removes or repairs has decided already."""
_SECONDS = 30.0


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What a change started and found healthy, and since when it ran, in seconds since the machine booted."""

    watched: tuple[Watched, ...] = ()
    since: float = 0.0


def note(tools: Tools, started: Started, generation: Generation, back: int) -> None:
    """Before the change is final: note what will be watched on, if anything.

    An older note stays until `see_to`: this change may yet not be.
    """
    if tools.systemd is None or generation.verb not in _VERBS or not started.watched:
        return
    late = _late(tools, started, generation, back)
    try:
        if late is not None:
            record.leave(tools.host.root, late)
    except OSError as error:
        tools.progress.say(f"what was started is not watched any longer: {words_of(error)}")


def see_to(tools: Tools) -> None:
    """The change is final: have PID 1 watch on, if it does not yet."""
    if tools.systemd is None:
        return
    noted, late = record.read(tools.host.root), watched_now(tools)
    if noted is not None and noted.boot == tools.boot:
        _stop(tools, noted.instead_of if late is not None else noted.transaction)
    if late is None:
        record.drop(tools.host.root)
        return
    argv = (*tools.program, "watch", late.transaction)
    # Where it cannot be started the change is kept as it is, and healthy.
    with contextlib.suppress(AshoreError):
        tools.systemd.start_service(late.unit, argv, "Watch what a change by ashore started")


def note_again(tools: Tools, reached: Collection[str]) -> None:
    """Another change went back: what is watched begins anew, with those units that it had `reached` as they run now."""
    late = watched_now(tools)
    if tools.systemd is None or late is None:
        return
    names = sorted({s.health.unit for s in late.subjects} & set(reached))
    states = tools.systemd.states(names)
    now = tools.uptime()
    subjects = tuple(brought_up_again(s, states.get(s.health.unit), now=now) for s in late.subjects)
    # Where it cannot be noted, it is judged more strictly than it would have to be.
    with contextlib.suppress(OSError):
        record.leave(tools.host.root, msgspec.structs.replace(late, subjects=subjects))


def _stop(tools: Tools, transaction: str) -> None:
    """What was watched is not there any more; unless it is the watch itself that goes back, which ends by itself."""
    assert tools.systemd is not None
    if transaction and not tools.history.current().why:
        stop = UnitAction(verb=UnitVerb.STOP, unit=watch_unit(transaction), reason="another change came")
        with contextlib.suppress(AshoreError):
            tools.systemd.run([stop], _SECONDS)


def watched_now(tools: Tools) -> Late | None:
    """What is watched on, if that is about the generation that holds and its time is not over."""
    late = record.read(tools.host.root) if tools.live else None
    if late is None or late.boot != tools.boot or late.generation != tools.history.current_number():
        return None
    over = all(subject.until <= tools.uptime() for subject in late.subjects)
    return None if over or tools.history.current().transaction != late.transaction else late


def _late(tools: Tools, started: Started, generation: Generation, back: int) -> Late | None:
    assert tools.systemd is not None
    names = sorted({w.health.unit for w in started.watched if w.health.unit})
    now = tools.uptime()
    subjects = to_watch_on(started.watched, tools.systemd.states(names), since=started.since, now=now)
    if not subjects:
        return None
    before = record.read(tools.host.root)
    left = max(subject.until for subject in subjects) - now
    return Late(
        transaction=generation.transaction,
        generation=generation.number,
        back=back,
        boot=tools.boot,
        since=started.since,
        until=after(tools.now(), left),
        subjects=subjects,
        instead_of=before.transaction if before is not None else "",
    )
