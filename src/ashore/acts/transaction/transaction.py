# SPDX-License-Identifier: Apache-2.0
"""A plan is carried out: staged, swapped, judged, committed; or everything goes back.

The order is the promise (docs/explanation/architecture.md): the journal is durable before the act, contents
are durable before the swap, and one durable verdict decides whether recovery goes back or forward.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence

import msgspec

from ashore.acts.plan.label import read_labels
from ashore.acts.tools import Tools
from ashore.acts.transaction import audit, late, steps, triggers, unconfirmed
from ashore.acts.transaction import units as unit_acts
from ashore.acts.transaction.record import Afterwards, generation_of
from ashore.acts.transaction.recover import finish, go_back, what_to_do, with_room
from ashore.acts.transaction.stage import check_targets, room_to_end, stage
from ashore.acts.transaction.validate import validate_placed, validate_staged
from ashore.errors import (
    AshoreError,
    ChangedError,
    ContentRefusedError,
    Issue,
    UnchangedError,
    UnitsFailedError,
    reason_of,
    remedy_of,
    without_promise,
    words_of,
)
from ashore.mechanisms.pid1 import rebootneeded
from ashore.mechanisms.stage import swap
from ashore.mechanisms.stage.staging import Staging, beside_state
from ashore.mechanisms.stage.supply import Supply
from ashore.mechanisms.stage.sync import sync_swapped
from ashore.mechanisms.state import journal
from ashore.nouns.bundle import Health
from ashore.nouns.files import shown
from ashore.nouns.generation import Generation, Verb
from ashore.nouns.journal import Area, Begun, Journal, Staged, Verdict
from ashore.nouns.plan import Plan


class Transaction:
    """An open transaction: its journal is begun, its staging folders are named in it."""

    def __init__(self, tools: Tools, verb: Verb) -> None:
        self.tools = tools
        self.id = tools.new_id()
        self.ended = False
        """Committed, taken back, or left to recovery."""
        after = tools.history.current().number
        areas = (beside_state(tools.host, self.id),)
        self.begun = Begun(transaction=self.id, verb=verb, boot=tools.boot, areas=areas, after=after)
        journal.begin(tools.state, self.begun)
        self.staging = Staging(tools.host, tools.state, self.id, self._announce)

    def _announce(self, areas: tuple[Area, ...]) -> None:
        self.begun = msgspec.structs.replace(self.begun, areas=areas)
        journal.begin(self.tools.state, self.begun)


@contextlib.contextmanager
def opened(tools: Tools, verb: Verb) -> Iterator[Transaction]:
    """A transaction that is closed down, with nothing changed, if nobody carried it out. The lock is held."""
    transaction = None
    try:
        transaction = Transaction(tools, verb)
        yield transaction
    finally:
        if transaction is None or not transaction.ended:
            # What cannot be swept now is swept by the next command; the host's own paths were not touched.
            with contextlib.suppress(OSError, AshoreError):
                go_back(tools, journal.read(tools.state))
        if transaction is not None:
            transaction.staging.close()


def carry_out(
    transaction: Transaction,
    plan: Plan,
    supply: Supply,
    *,
    previous: Generation,
    afterwards: Afterwards,
) -> Generation:
    """Make the host what `plan` says, and record it.

    Raises:
        UnchangedError: it failed, and the host is as it was, its units too.
        ChangedError: it failed, and something could not be brought back; what is left to do is in `issues`.
    """
    tools = transaction.tools
    staged: Staged | None = None
    try:
        plan, ready, answered = _made_ready(transaction, plan, supply, previous, afterwards)
        journal.staged(tools.state, ready)
        staged = ready  # Until here nothing of the host was touched, and there is nothing to undo.
        with _judged(tools, afterwards):
            steps.run_before(tools, plan.commands, transaction.id)
        with _judged(tools, afterwards):
            unit_acts.stop(tools, staged.stops)
        _swap(tools, transaction, staged)
        try:
            with _accepted(tools, plan, afterwards):
                validate_placed(tools, plan)
        except AshoreError:
            staged = msgspec.structs.replace(staged, actions=(), daemon_reload=False)  # No unit has read it.
            raise
        triggers.run_after(tools, plan.triggers, go_on=bool(afterwards.taken_back))
        started, touched = late.Started(), plan.touched(previous)
        with _judged(tools, afterwards):
            started = unit_acts.bring_up(tools, plan, staged.units, touched=touched, answered=answered)
        with _judged(tools, afterwards):
            steps.run_after(tools, plan.commands, transaction.id)
        generation = generation_of(tools, transaction.begun, transaction.staging, plan, previous, afterwards)
        verdict = _record(tools, plan, generation, previous, afterwards, started)
    except BaseException as error:
        raise _failed(tools, transaction, staged, error) from error
    transaction.ended = True
    if tools.live and plan.reboot:  # recovery, which may end this instead, no longer knows of it
        _tell_of_reboot(tools, plan.reboot)
    _finish(tools, Journal(begun=transaction.begun, staged=staged, verdict=verdict))
    return generation


def _tell_of_reboot(tools: Tools, why: Sequence[str]) -> None:
    try:
        rebootneeded.need(tools.host.root, why)
    except OSError as error:
        tools.progress.say(f"that a reboot is needed could not be noted: {words_of(error)}")


def _made_ready(
    transaction: Transaction, plan: Plan, supply: Supply, previous: Generation, afterwards: Afterwards
) -> tuple[Plan, Staged, frozenset[Health]]:
    """All that comes before the first file of the host is touched: users are made, files staged, and both accepted.

    Returns the plan with the numbers of the users, what is staged, and the checks of other bundles that hold now.
    """
    tools, staging = transaction.tools, transaction.staging
    labels = read_labels(tools)
    check_targets(tools, staging, plan, labels)
    plan = triggers.make_users(tools, plan, go_on=bool(afterwards.taken_back))
    ready = stage(staging, tools.content, supply, plan, labels)
    ready = unit_acts.noted(tools, plan, ready)
    answered = unit_acts.others_well(tools, plan, plan.touched(previous))
    with _accepted(tools, plan, afterwards):
        validate_staged(tools, staging, ready, plan)
    journal.reserve(tools.state, room_to_end(staging, tools.content, ready))
    return plan, msgspec.structs.replace(ready, triggers=plan.triggers, commands=plan.commands), answered


def _record(
    tools: Tools,
    plan: Plan,
    generation: Generation,
    previous: Generation,
    afterwards: Afterwards,
    started: late.Started,
) -> Verdict:
    """Write the new generation down, then the verdict: from there on it holds, whatever happens."""
    waiting = tools.history.provisional()
    if plan.confirm is not None:
        waiting = unconfirmed.begin(tools, plan.confirm, previous.number)
    elif afterwards.ends_waiting:
        waiting = None
    tools.history.write(generation)
    late.note(tools, started, generation, back=previous.number)
    verdict = Verdict(generation=generation.number, held=afterwards.held, provisional=waiting)
    journal.verdict(tools.state, verdict)
    return verdict


def _finish(tools: Tools, judged: Journal) -> None:
    try:
        with_room(tools, functools.partial(finish, tools, judged))
    except ChangedError:
        raise
    except (OSError, AshoreError) as error:
        raise ChangedError(
            "the new generation is in place, but its record is not complete",
            cause=reason_of(error),
            remedy="make room or put right what is named, then run: ashore recover",
        ) from error


@contextlib.contextmanager
def _judged(tools: Tools, afterwards: Afterwards) -> Iterator[None]:
    """What fails takes the change back; unless this change is one that has to be, whatever fails."""
    try:
        yield
    except UnitsFailedError as error:
        if not afterwards.taken_back:
            raise
        tools.progress.say(str(error))


@contextlib.contextmanager
def _accepted(tools: Tools, plan: Plan, afterwards: Afterwards) -> Iterator[None]:
    """Likewise; what an edit was merged to was never accepted before, and there is a way back without it."""
    try:
        yield
    except ContentRefusedError as error:
        if not afterwards.taken_back or any(step.merged for step in plan.steps):
            raise
        tools.progress.say("; ".join(map(str, error.issues)) or str(error))


def _swap(tools: Tools, transaction: Transaction, staged: Staged) -> None:
    areas = [transaction.staging.fd(index) for index in range(len(transaction.staging.areas))]
    for step in staged.steps:
        try:
            swap.do(tools.host, areas, step)
        except OSError as error:
            where = shown(step.step.path)
            raise UnchangedError(f"cannot {step.step.action} {where}", cause=words_of(error)) from error
    sync_swapped(tools.host, areas, [step.step for step in staged.steps if not step.carried])


def _failed(tools: Tools, transaction: Transaction, staged: Staged | None, error: BaseException) -> BaseException:
    """Bring everything back, then say what happened with the right class of error."""
    left: list[Issue] = []
    transaction.ended = True
    try:
        journal.withdraw(tools.state)
        unjudged = Journal(
            begun=transaction.begun,
            staged=staged,
            ran=journal.ran_of(tools.state),
            units_begun=journal.has_units_begun(tools.state),
        )
        left += with_room(tools, functools.partial(go_back, tools, unjudged))
        told = (without_promise(error) if left else str(error)) or type(error).__name__
        audit.tell_of_failure(tools, transaction.begun, told, left)
    except (AshoreError, OSError) as second:
        left.append(Issue(where="", message=without_promise(second), remedy="run: ashore recover"))
    if left:
        return ChangedError(
            f"{transaction.begun.verb} failed, and not everything could be brought back",
            cause=without_promise(error),
            remedy=what_to_do(tools),
            issues=left,
        )
    if isinstance(error, OSError):
        said = f"{transaction.begun.verb} failed; the host is as it was"
        return UnchangedError(said, cause=reason_of(error), remedy=remedy_of(error))
    return error
