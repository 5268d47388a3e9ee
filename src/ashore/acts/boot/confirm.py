# SPDX-License-Identifier: Apache-2.0
"""A change that waits for confirmation: kept since somebody is there, or taken back since nobody was."""

import contextlib
import datetime
from collections.abc import Iterator

import msgspec

from ashore.acts.boot import early
from ashore.acts.change.install import BACK, change
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.wishes import Target, wish_back
from ashore.acts.fetch.places import Place
from ashore.acts.tools import Tools
from ashore.acts.transaction import unconfirmed
from ashore.acts.transaction.recover import recover
from ashore.errors import AshoreError, BusyError, UnchangedError, cause_of
from ashore.mechanisms.host.logins import logged_in_over_ssh
from ashore.mechanisms.pid1 import stuck
from ashore.mechanisms.state.holder import ask_to_end
from ashore.nouns.confirm import NOT_CONFIRMED, By, Provisional
from ashore.nouns.generation import Generation, Verb
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import ImageReference

_TRIES, _PAUSE = 60, 0.5
_PATIENCE = 10
"""Tries, before who has the lock is asked to end: most commands have done so by then."""


class _DecidedError(UnchangedError):
    """What waited has been confirmed meanwhile, or something else waits."""


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change that waited."""

    generation: int
    """The one that holds now."""
    confirmed: bool = False
    taken_back: bool = False


def confirm(tools: Tools) -> Confirmed:
    """Keep what waits for confirmation.

    Raises:
        UnchangedError: it is too late, and the host went back.
    """
    if tools.state.fd is None:
        return Confirmed(generation=0)
    with tools.state.locked():
        recover(tools)
        current = tools.history.current()
        if tools.history.provisional() is not None:
            _keep(tools, "by ashore confirm")
            return Confirmed(generation=current.number, confirmed=True)
    if current.taken_back:
        back = f"generation {current.restores}" if current.restores else "what was there before ashore"
        raise UnchangedError(
            f"too late: {current.why or 'nobody confirmed in time'}, and the host went back to {back}",
            remedy="install it again by name, and confirm in time",
        )
    return Confirmed(generation=current.number)


def take_back_in_time(tools: Tools) -> Confirmed:
    """What the timer and a boot ask for: nothing before the time is over, else the way back.

    Raises:
        AshoreError: it cannot be taken back now; the timer tries again. So it does after any fault, and status says it.
    """
    waiting = tools.history.provisional()
    if waiting is not None and waiting.by is By.COMMAND and not unconfirmed.is_due(tools, waiting):
        return Confirmed(generation=tools.history.current().number)  # Only a look: whoever is at work is not disturbed.
    try:
        return _take_back(tools)
    except Exception as error:
        with contextlib.suppress(AshoreError):
            if _is_over(tools):
                stuck.leave(tools.host.root, tools.history.current().transaction, cause_of(error))
        raise


def _take_back(tools: Tools) -> Confirmed:
    with _locked_after_a_while(tools):
        recover(tools)
        waiting = tools.history.provisional()
        if waiting is not None and waiting.by is By.SSH_LOGIN and _logged_in(tools, waiting):
            _keep(tools, "by a login over ssh")
            return Confirmed(generation=tools.history.current().number, confirmed=True)
    if waiting is None or not unconfirmed.is_due(tools, waiting):
        return Confirmed(generation=tools.history.current().number)
    try:
        up = early.is_up(tools)
        done = _go_back(tools, waiting) if up else early.held(tools, lambda: _early(tools, waiting))
    except _DecidedError:
        return Confirmed(generation=tools.history.current().number)
    return Confirmed(generation=done.generation.number, taken_back=True)


def _keep(tools: Tools, how: str) -> None:
    """The record decides; what saw to it goes afterwards, or with the next command."""
    tools.history.await_confirmation(None)
    stuck.drop(tools.host.root)
    number = tools.history.current().number
    tools.history.audit({"time": tools.now(), "generation": number, "verb": "confirm", "how": how})
    unconfirmed.see_to(tools)


def _logged_in(tools: Tools, waiting: Provisional) -> bool:
    if waiting.boot != tools.boot:
        return False  # it is over, and `since` is no time of this boot
    began = datetime.datetime.fromisoformat(waiting.began).timestamp()
    return logged_in_over_ssh(tools.host, began, waiting.since)


def _go_back(tools: Tools, waiting: Provisional) -> Outcome:
    """Whatever becomes of units on the way; unless somebody has confirmed it, or changed it, until the lock was had."""
    back = wish_back(tools, None, "")

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        if tools.history.provisional() != waiting:
            raise _DecidedError("it does not wait for confirmation any more")
        target = back(current, place, salt)
        return msgspec.structs.replace(target, to_blame=frozenset(waiting.bundles) if waiting.bundles else None)

    return change(tools, Verb.ROLLBACK, wish, confirm=BACK, taken_back=NOT_CONFIRMED)


def _early(tools: Tools, waiting: Provisional) -> Outcome:
    done = _go_back(_before_anything_runs(tools), waiting)
    unconfirmed.stop_timer(tools)  # its file is gone, and PID 1 has started it or is about to
    return done


def _before_anything_runs(tools: Tools) -> Tools:
    """The same tools where PID 1 has started nothing yet: files only, and no network."""

    def nowhere(reference: ImageReference) -> ImageReader:
        raise UnchangedError(f"there is no network yet to fetch {reference}")

    return msgspec.structs.replace(tools, systemd=None, open_image=nowhere)


def _is_over(tools: Tools) -> bool:
    waiting = tools.history.provisional()
    return waiting is not None and unconfirmed.is_due(tools, waiting)


@contextlib.contextmanager
def _locked_after_a_while(tools: Tools) -> Iterator[None]:
    """The lock; whoever has it is waited for, and asked to end once the time is over: it may wait for a registry."""
    with contextlib.ExitStack() as lock:
        for left in reversed(range(_TRIES)):
            try:
                lock.enter_context(tools.state.locked())
                break
            except BusyError:
                if not left:
                    raise
                if left == _TRIES - _PATIENCE and _is_over(tools) and ask_to_end(tools.state):
                    tools.progress.say("another command was asked to end: the time to confirm is over")
                tools.sleep(_PAUSE)
        yield
