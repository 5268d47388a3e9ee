# SPDX-License-Identifier: Apache-2.0
"""Whether and when this host follows its tags: a timer of PID 1, and pauses that outlive a boot."""

import msgspec

from ashore.acts.tools import Tools
from ashore.errors import UnchangedError, words_of
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.own import ownunits
from ashore.mechanisms.state import following
from ashore.nouns.duration import after
from ashore.nouns.follow import Following, Paused
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.provision.hostunits import FOLLOW_LINKS, FOLLOW_TIMER, follow_units

_SECONDS = 30.0


def enable(tools: Tools, every: float) -> bool:
    """Have a timer that follows; whether that is new. On an offline root it begins with the next boot.

    Raises:
        UnchangedError: it cannot be placed or started.
    """
    delay = read_config(tools.host).random_delay or every / 4
    try:
        changed = ownunits.place(tools.host, follow_units(tools.program, every, delay), FOLLOW_LINKS)
    except OSError as error:
        raise UnchangedError(f"cannot write {FOLLOW_TIMER}", cause=words_of(error)) from error
    if tools.systemd is not None:
        if changed:
            tools.systemd.daemon_reload()
        verb = UnitVerb.RESTART if changed else UnitVerb.START
        (result,) = tools.systemd.run([UnitAction(verb=verb, unit=FOLLOW_TIMER, reason="")], _SECONDS)
        if not result.ok:
            raise UnchangedError(f"{FOLLOW_TIMER} does not start", cause=result.detail or result.result)
    return changed


def disable(tools: Tools) -> bool:
    """Have no such timer; whether there was one.

    Raises:
        UnchangedError: it cannot be removed.
    """
    texts = follow_units(tools.program, 0, 0)
    if not ownunits.are_there(tools.host, texts, FOLLOW_LINKS):
        return False
    try:
        if tools.systemd is not None:
            tools.systemd.run([UnitAction(verb=UnitVerb.STOP, unit=FOLLOW_TIMER, reason="")], _SECONDS)
        ownunits.drop(tools.host, texts, FOLLOW_LINKS)
    except OSError as error:
        raise UnchangedError(f"cannot remove {FOLLOW_TIMER}", cause=words_of(error)) from error
    if tools.systemd is not None:
        tools.systemd.daemon_reload()
    return True


def pause(tools: Tools, seconds: float | None = None) -> Paused:
    """No round does anything until `resume`, or for so many seconds."""
    now = tools.now()
    paused = Paused(since=now, until=after(now, seconds) if seconds is not None else "")
    _set(tools, paused, "pause")
    return paused


def resume(tools: Tools) -> bool:
    """Follow again; whether there was a pause."""
    if following.read(tools.state).paused is None:
        return False
    _set(tools, None, "resume")
    return True


def state(tools: Tools) -> tuple[bool, Following]:
    """Whether the timer is there, and what is remembered."""
    there = ownunits.are_there(tools.host, follow_units(tools.program, 0, 0), {})
    return there, following.read(tools.state)


def _set(tools: Tools, paused: Paused | None, verb: str) -> None:
    with tools.state.locked():
        following.write(tools.state, msgspec.structs.replace(following.read(tools.state), paused=paused))
        number = tools.history.current_number() or 0
        tools.history.audit({"time": tools.now(), "generation": number, "verb": f"follow {verb}"})
