# SPDX-License-Identifier: Apache-2.0
"""Recovery at boot, before anything else starts: no network, no message bus, and units of the bundle held back."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from ashore.acts.change.outcome import Outcome
from ashore.acts.tools import Tools
from ashore.acts.transaction.recover import recover
from ashore.errors import AshoreError, BusyError, ChangedError, UnchangedError
from ashore.mechanisms import process
from ashore.mechanisms.pid1 import notify
from ashore.mechanisms.pid1.handover import own_command
from ashore.mechanisms.state import journal
from ashore.nouns.files import Kind
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Recovered
from ashore.nouns.plan import Plan
from ashore.nouns.ports import Systemd
from ashore.nouns.units import UnitAction, UnitState, UnitVerb
from ashore.rules.provision.hostunits import INCOMPLETE
from ashore.rules.units.disabled import without
from ashore.rules.units.enablement import enabled_by, unit_of

_SECONDS = 30.0
_UP = "sysinit.target"
_TRIGGERS = (".timer", ".path", ".socket", ".automount")
"""What pulls a unit in at its own time, not at the boot."""


def is_up(tools: Tools) -> bool:
    """Whether a boot, if there is one, has come past what our units come before."""
    return tools.systemd is None or tools.systemd.states([_UP])[_UP].active == "active"


@contextlib.contextmanager
def in_our_unit(tools: Tools) -> Iterator[None]:
    """A boot goes on when our unit has done its work; a host that is up does not wait for it.

    What comes after it in a boot, as sshd, may have to reload or start anew for us, and we wait for that: PID 1 would
    have it wait for our unit in turn.
    """
    with contextlib.suppress(AshoreError):  # then it is a boot, where nobody answers yet
        if is_up(tools):
            notify.ready()
    yield
    notify.ready()


def recover_at_boot(tools: Tools) -> Recovered:
    """End what an earlier boot left. Until that is done, a file holds the bundles' units (see `hostunits.drop_in`).

    Within the same boot it is a plain `recover`: then units are put back as they ran, and are not held.

    Raises:
        ChangedError: something stands in the way, or the state is gone; the units stay held.
        UnchangedError: there is a state that cannot be looked at, and the units stay held; or it cannot be written.
    """
    try:
        if tools.state.fd is None:
            return Recovered.NOTHING
    except (UnchangedError, ChangedError):
        _hold(tools)  # Nobody knows what an interrupted change has left.
        raise
    other_boot = True  # until its journal says another
    try:
        with tools.state.locked():
            left = journal.read(tools.state)
            other_boot = left is not None and left.begun.boot != tools.boot
            if other_boot:
                _hold(tools)
            result = recover(tools)
            if other_boot:
                _drop_incoming(tools)
                _release(tools)
    except BusyError:
        return Recovered.NOTHING  # Whoever has the lock recovers first.
    except AshoreError:
        if other_boot and journal.exists(tools.state):
            _hold(tools)
        raise
    if other_boot and left is not None and left.staged is not None:
        touched = {action.unit for action in (*left.staged.stops, *left.staged.actions)}
        if touched or left.staged.daemon_reload:
            units = touched.intersection(enabled_here(tools, tools.history.current()))
            readers = {action.unit: action.verb for action in left.staged.actions}
            stopped = {stop.unit for stop in left.staged.stops} if result is Recovered.BACK else set[str]()
            _queue(tools, units, readers, stopped - units)
    if tools.live and tools.history.due():
        _queue_due()
    return result


def held(tools: Tools, act: Callable[[], Outcome]) -> Outcome:
    """Do `act` while the bundles' units are held, then have PID 1 start what is enabled, and what has read too early.

    Raises:
        AshoreError: as `act`; if that left a mix, the units stay held.
    """
    before = tools.history.current()
    _hold(tools)
    try:
        result = act()
    except ChangedError:
        raise
    except Exception as error:
        if isinstance(error, AshoreError) or not journal.exists(tools.state):
            _release(tools)
        raise
    _release(tools)
    enabled = enabled_here(tools, tools.history.current())
    _queue(tools, enabled, _readers(result.plan, before, result.generation), before.gave_way.keys() - {*enabled})
    if tools.live and tools.history.due():
        _queue_due()
    return result


def let_go(tools: Tools) -> None:
    """Units that a boot held since it could not recover start, where that is done by now."""
    if os.path.lexists(os.path.join(tools.host.root, INCOMPLETE)) and not journal.exists(tools.state):
        _release(tools)
        _queue(tools, enabled_here(tools, tools.history.current()), {})


def enabled_here(tools: Tools, generation: Generation) -> tuple[str, ...]:
    """The units that a boot starts for the bundles: those that they enable, and that nobody has disabled here."""
    links = [(path, record.entry) for path, record in generation.files.items() if record.entry.kind is Kind.SYMLINK]
    enabling = [path for path, entry in links if enabled_by(path, entry.target)]
    disabled = without(links, {path for path in enabling if tools.host.lstat(path) is None})
    return tuple(unit for unit in generation.enabled if unit not in disabled)


def _drop_incoming(tools: Tools) -> None:
    """An installer was cut off as well: the next one brings its image again."""
    from ashore.acts.boot.hand_over import drop_incoming

    drop_incoming(tools.host)


def _queue_due() -> None:
    """What recovery left for later is done once the host is up, by another run of this very program."""
    with contextlib.suppress(AshoreError):  # then the next change does it
        process.run(
            [
                *("systemd-run", "--no-block", "--collect", "--unit=ashore-due.service"),
                *("--property=After=multi-user.target", "--property=After=network-online.target", "--"),
                *(*own_command(), "recover"),
            ],
            seconds=_SECONDS,
        )


def _hold(tools: Tools) -> None:
    path = os.path.join(tools.host.root, INCOMPLETE)
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))


def _release(tools: Tools) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(tools.host.root, INCOMPLETE))


def _readers(plan: Plan, before: Generation, after: Generation) -> dict[str, UnitVerb]:
    """What the paths that were changed are read by: as their bundles say, and services by their own files."""
    verbs: dict[str, UnitVerb] = {}
    for path in (step.path for step in plan.steps):
        records = [generation.files[path] for generation in (before, after) if path in generation.files]
        own = unit_of(path) or ""
        restarts = {unit for record in records for unit in record.restart} | ({own} if _is_service(own) else set())
        for unit in {unit for record in records for unit in record.reload}:
            verbs.setdefault(unit, UnitVerb.RELOAD)
        verbs |= dict.fromkeys(restarts, UnitVerb.RESTART)
    return verbs


def _is_service(unit: str) -> bool:
    return unit.endswith(".service") and not unit.endswith("@.service")


def _queue(
    tools: Tools, units: Iterable[str], readers: Mapping[str, UnitVerb], others: AbstractSet[str] = frozenset()
) -> None:
    """PID 1 planned this boot by the unit files of the mix: have it start what it could not know of, in its order.

    Of `readers`, those that already run began with the files that are gone: they reload or start anew. Of `others`,
    units of the host that were down by the change's hand, it starts what the boot wants.
    """
    if tools.systemd is None:
        return
    tools.systemd.daemon_reload()
    with contextlib.suppress(AshoreError):  # what does not start says so itself, and nobody waits here
        states = tools.systemd.states(sorted(readers))
        again = [_again(state, readers[unit]) for unit, state in states.items() if state.running]
        left_out = _left_out(tools.systemd, others)
        tools.systemd.start_later(sorted({*units, *left_out} - {action.unit for action in again}))
        if again:
            tools.systemd.run_later(again)


def _left_out(systemd: Systemd, units: AbstractSet[str]) -> set[str]:
    """Those that something of this boot pulls in: what conflicted with one of them had PID 1 leave it out."""
    states = systemd.states(sorted(units)) if units else {}
    coming = {name for name in systemd.running() if not name.endswith(_TRIGGERS)} if units else set[str]()
    return {
        unit
        for unit, state in states.items()
        if state.load == "loaded"
        and not coming.isdisjoint((*state.wanted_by, *state.needed_by))
        and coming.isdisjoint((*state.conflicts, *state.conflicted_by))
    }


def _again(state: UnitState, verb: UnitVerb) -> UnitAction:
    reloads = verb is UnitVerb.RELOAD and state.can_reload
    return UnitAction(
        verb=UnitVerb.RELOAD if reloads else UnitVerb.RESTART, unit=state.name, reason="its old files are back"
    )
