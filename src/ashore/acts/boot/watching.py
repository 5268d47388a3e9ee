# SPDX-License-Identifier: Apache-2.0
"""The watch after a change: what fails before its time is over takes the change back, if nothing came after it."""

from collections.abc import Callable, Mapping

import msgspec

from ashore.acts.change.install import BACK, change
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.wishes import Target, Wish, wish_back, wish_before_all
from ashore.acts.fetch.places import Place
from ashore.acts.tools import Tools
from ashore.acts.transaction import late as lately
from ashore.acts.transaction.health import issue_of
from ashore.errors import BusyError, Issue, UnchangedError, cause_of
from ashore.mechanisms.pid1 import probes, stuck
from ashore.mechanisms.pid1 import watched as record
from ashore.nouns.bundle import Health
from ashore.nouns.generation import Generation, Verb
from ashore.nouns.late import Late, Subject
from ashore.rules.blame import to_blame
from ashore.rules.units.late import is_over, look

_PAUSE = 1.0
_PROBE_SECONDS = 5.0
_TRIES, _AGAIN = 10, 30.0
"""How often, and after how long, a way back that cannot be gone now is tried again."""


Probe = Callable[[Health, float], str]
"""Asks a check for at most so many seconds; why it does not answer, or nothing."""


class _WellAgainError(UnchangedError):
    """It was another change that had taken it down, and that went back meanwhile."""


class _SupersededError(UnchangedError):
    """Another change came meanwhile: what is watched is not there any more."""


def watch_on(tools: Tools, transaction: str, *, probe: Probe = probes.probe) -> Outcome | None:
    """Watch what the change `transaction` started until its time is over; the way back, if something failed.

    Ends as soon as another change has been made. While one is at work, nothing is judged.

    Raises:
        AshoreError: it failed, and cannot be taken back.
    """
    found = lately.watched_now(tools)
    if found is None or found.transaction != transaction:
        return None
    try:
        while failed := _until_failed(tools, found, probe):
            try:
                return _go_back(tools, found, failed, probe)
            except (BusyError, _WellAgainError):
                tools.sleep(_PAUSE)  # who is at work may have stopped it: look again, afterwards
            except _SupersededError:
                return None
        return None
    finally:
        left = record.read(tools.host.root)
        if left is not None and left.transaction == transaction:
            record.drop(tools.host.root)


def _as_noted(tools: Tools, late: Late) -> Late:
    """What is watched, as it is noted now: a change that went back meanwhile has noted anew how it runs."""
    noted = record.read(tools.host.root)
    return late if noted is None or noted.transaction != late.transaction else noted


def _is_ill(tools: Tools, subject: Subject, probe: Probe) -> bool:
    assert tools.systemd is not None
    unit = subject.health.unit
    state = tools.systemd.states([unit])[unit] if unit else None
    said = probe(subject.health, min(_PROBE_SECONDS, subject.patience))
    return bool(look(subject, state, said, bad_since=float("-inf"), now=tools.uptime()).failure)


def _until_failed(tools: Tools, late: Late, probe: Probe) -> Mapping[Subject, Issue]:
    """What has failed; empty when the time is over, or another generation holds."""
    assert tools.systemd is not None
    bad: dict[int, float | None] = dict.fromkeys(range(len(late.subjects)))
    while bad and tools.history.current_number() == late.generation:
        noted = _as_noted(tools, late)
        subjects = [noted.subjects[n] for n in bad]
        states = tools.systemd.states([s.health.unit for s in subjects if s.health.unit])
        failed = {}
        for n, subject in zip(list(bad), subjects, strict=True):
            said = probe(subject.health, min(_PROBE_SECONDS, subject.patience))
            now = tools.uptime()
            seen = look(subject, states.get(subject.health.unit), said, bad_since=bad[n], now=now)
            if seen.failure:
                reason = f"{seen.failure}, {now - late.since:.0f} s after the start"
                failed[subject] = issue_of(subject.health, reason, subject.why)
            bad[n] = seen.bad_since
            if is_over(subject, seen.bad_since, now):
                del bad[n]
        if failed:
            return failed
        tools.sleep(_PAUSE)
    return {}


def _go_back(tools: Tools, late: Late, failed: Mapping[Subject, Issue], probe: Probe) -> Outcome:
    why = f"failed late: {next(iter(failed.values()))}"
    back = _back_from(tools, late, failed, probe)
    for left in reversed(range(_TRIES)):
        try:
            return change(tools, Verb.ROLLBACK, back, confirm=BACK, taken_back=why)
        except (BusyError, _SupersededError, _WellAgainError):
            raise
        except Exception as error:  # also what nobody foresaw: what failed must not stay for that
            stuck.leave(tools.host.root, late.transaction, f"{why}; {cause_of(error)}")
            if not left:
                raise
            tools.progress.say(f"{cause_of(error)}; once more in {_AGAIN:g} s")
            tools.sleep(_AGAIN)
    raise AssertionError("it is raised by the last try")


def _back_from(tools: Tools, late: Late, failed: Mapping[Subject, Issue], probe: Probe) -> Wish:
    """The generation before, if the one that is watched still holds and is as ill with the lock as it was without."""
    back = wish_back(tools, late.back, "") if late.back else wish_before_all

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        if current.transaction != late.transaction:
            raise _SupersededError("another change came meanwhile")
        checks = {subject.health for subject in failed}
        noted = [subject for subject in _as_noted(tools, late).subjects if subject.health in checks]
        if not any(_is_ill(tools, subject, probe) for subject in noted):
            stuck.drop(tools.host.root)
            raise _WellAgainError("it is well again")
        for issue in failed.values():
            tools.progress.say(f"failed late: {issue}")
        target = back(current, place, salt)
        return msgspec.structs.replace(target, to_blame=to_blame(failed.values(), target.let_go, current.files))

    return wish
