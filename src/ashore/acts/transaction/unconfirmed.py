# SPDX-License-Identifier: Apache-2.0
"""What sees to an unconfirmed change while ashore does not run: a timer of PID 1, there before the change is final."""

from ashore.acts.tools import Tools
from ashore.errors import UnchangedError, words_of
from ashore.mechanisms.own import ownunits
from ashore.nouns.confirm import By, Confirm, Provisional
from ashore.nouns.duration import after
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.confirm import with_waiting
from ashore.rules.provision.hostunits import UNCONFIRMED_LINKS, UNCONFIRMED_TIMER, unconfirmed_units

_SECONDS = 30.0


def begin(tools: Tools, confirm: Confirm, back: int) -> Provisional:
    """The time to confirm begins now; what takes the change back is in place before this returns.

    Where something waits already its time goes on, and who confirms both has to be able to confirm each.
    `back` is the generation that comes back: the one before, or of an unconfirmed one the one before that.

    Raises:
        UnchangedError: it cannot be placed or started.
    """
    waiting = tools.history.provisional()
    if waiting is not None:
        confirm = with_waiting(confirm, waiting, _left(tools, waiting))
    now = tools.now()
    made = Provisional(
        back=waiting.back if waiting is not None else back,
        within=confirm.within,
        since=tools.uptime(),
        boot=tools.boot,
        began=now,
        until=after(now, confirm.within),
        by=confirm.by,
        reason=confirm.reason,
        bundles=tuple(sorted({*confirm.bundles, *(waiting.bundles if waiting is not None else ())})),
    )
    try:
        _arm(tools, made, anew=True)
    except OSError as error:
        raise UnchangedError(
            "what would take an unconfirmed change back cannot be placed",
            cause=words_of(error),
            remedy="make /etc/systemd/system writable, or change without confirmation: --no-confirm",
        ) from error
    return made


def see_to(tools: Tools) -> None:
    """Have the timer where something waits for confirmation, and not where nothing does.

    Raises:
        OSError: it cannot be written or taken away.
    """
    waiting = tools.history.provisional()
    if waiting is None:
        _disarm(tools)
    elif _left(tools, waiting) > 0:
        # Else it is about to be taken back, and perhaps by the very unit, as an older ashore wrote it: PID 1 would read
        # the new one, and have what comes after that wait for it.
        _arm(tools, waiting, anew=False)


def is_due(tools: Tools, waiting: Provisional) -> bool:
    """Whether the time is over; a boot ends it."""
    return _left(tools, waiting) <= 0


def _left(tools: Tools, waiting: Provisional) -> float:
    return waiting.within - (tools.uptime() - waiting.since) if waiting.boot == tools.boot else 0.0


def stop_timer(tools: Tools) -> None:
    """Nothing waits for confirmation."""
    if tools.systemd is not None:
        stop = UnitAction(verb=UnitVerb.STOP, unit=UNCONFIRMED_TIMER, reason="nothing waits for confirmation")
        tools.systemd.run([stop], _SECONDS)


def _arm(tools: Tools, waiting: Provisional, *, anew: bool) -> None:
    texts = unconfirmed_units(tools.program, waiting.within, look=waiting.by is By.SSH_LOGIN)
    changed = ownunits.place(tools.host, texts, UNCONFIRMED_LINKS)
    if tools.systemd is None:
        return
    if changed:
        tools.systemd.daemon_reload()
    verb = UnitVerb.RESTART if anew or changed else UnitVerb.START
    action = UnitAction(verb=verb, unit=UNCONFIRMED_TIMER, reason="a change waits for confirmation")
    failed = [result for result in tools.systemd.run([action], _SECONDS) if not result.ok]
    if failed:
        raise UnchangedError(f"{UNCONFIRMED_TIMER} did not start", cause=failed[0].detail or failed[0].result)


def _disarm(tools: Tools) -> None:
    texts = unconfirmed_units(tools.program, 0, look=False)
    if not ownunits.are_there(tools.host, texts, UNCONFIRMED_LINKS):
        return
    stop_timer(tools)
    ownunits.drop(tools.host, texts, UNCONFIRMED_LINKS)
    if tools.systemd is not None:
        tools.systemd.daemon_reload()
