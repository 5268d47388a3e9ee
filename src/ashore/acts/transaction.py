# SPDX-License-Identifier: Apache-2.0
"""A plan is carried out: staged, swapped, judged, committed; or everything goes back.

The order is the promise (docs/explanation/architecture.md): the journal is durable before the act, contents
are durable before the swap, and one durable verdict decides whether recovery goes back or forward.
"""

import contextlib
from collections.abc import Iterator

import msgspec

from ashore.acts import units as unit_acts
from ashore.acts.recover import finish, go_back
from ashore.acts.stage import check_targets, stage
from ashore.acts.tools import Tools
from ashore.acts.validate import validate
from ashore.errors import AshoreError, ChangedError, Issue, UnchangedError
from ashore.mechanisms import journal, swap
from ashore.mechanisms.attributes import stat_of
from ashore.mechanisms.staging import Staging
from ashore.mechanisms.supply import Supply
from ashore.mechanisms.sync import sync_swapped
from ashore.nouns.digest import Digest
from ashore.nouns.files import shown
from ashore.nouns.generation import FileRecord, Generation, Verb
from ashore.nouns.journal import Area, Begun, Journal, Staged, Verdict
from ashore.nouns.plan import Plan


class Transaction:
    """An open transaction: its journal is begun, its staging folders are named in it."""

    def __init__(self, tools: Tools, verb: Verb) -> None:
        self.tools = tools
        self.id = tools.new_id()
        self.taken_back = False
        self.begun = Begun(transaction=self.id, verb=verb, boot=tools.boot)
        journal.begin(tools.state, self.begun)
        self.staging = Staging(tools.host, tools.state, self.id, self._announce)

    def _announce(self, areas: tuple[Area, ...]) -> None:
        self.begun = msgspec.structs.replace(self.begun, areas=areas)
        journal.begin(self.tools.state, self.begun)


@contextlib.contextmanager
def opened(tools: Tools, verb: Verb) -> Iterator[Transaction]:
    """A transaction that is closed down, with nothing changed, if nobody carried it out. The lock is held."""
    transaction = Transaction(tools, verb)
    try:
        yield transaction
    finally:
        if journal.exists(tools.state) and not transaction.taken_back:
            left = journal.read(tools.state)
            # After a verdict only `finish` may end it; a failure there left the journal for recovery.
            if left is None or left.verdict is None:
                go_back(tools, left)


def carry_out(
    transaction: Transaction,
    plan: Plan,
    supply: Supply,
    *,
    previous: Generation,
    restores: int = 0,
) -> Generation:
    """Make the host what `plan` says, and record it.

    Raises:
        UnchangedError: it failed, and the host is as it was, its units too.
        ChangedError: it failed, and something could not be brought back; what is left to do is in `issues`.
    """
    tools = transaction.tools
    staged: Staged | None = None
    try:
        check_targets(tools, transaction.staging, plan)
        staged = stage(transaction.staging, tools.content, supply, plan)
        staged = msgspec.structs.replace(staged, units=unit_acts.snapshot(tools, plan))
        validate(tools, transaction.staging, staged, plan)
        journal.staged(tools.state, staged)
        _swap(tools, transaction, staged)
        unit_acts.bring_up(tools, plan)
        generation = _generation(tools, transaction, plan, previous, restores)
        tools.history.write(generation)
        journal.verdict(tools.state, Verdict(generation=generation.number))
    except BaseException as error:
        raise _failed(tools, transaction, staged, error) from error
    try:
        finish(tools, Journal(begun=transaction.begun, staged=staged, verdict=Verdict(generation=generation.number)))
    except OSError as error:
        raise ChangedError(
            "the new generation is in place, but its record is not complete",
            cause=_reason(error),
            remedy="make room or put right what is named, then run: ashore recover",
        ) from error
    return generation


def _swap(tools: Tools, transaction: Transaction, staged: Staged) -> None:
    unit_acts.stop(tools, staged.stops)
    areas = [transaction.staging.fd(index) for index in range(len(transaction.staging.areas))]
    for step in staged.steps:
        try:
            swap.do(tools.host, areas, step)
        except OSError as error:
            where = shown(step.step.path)
            raise UnchangedError(f"cannot {step.step.action} {where}", cause=error.strerror or str(error)) from error
    sync_swapped(tools.host, areas, [step.step.path for step in staged.steps])


def _generation(tools: Tools, transaction: Transaction, plan: Plan, previous: Generation, restores: int) -> Generation:
    touched = {step.path for step in plan.steps}
    return Generation(
        number=max([previous.number, *tools.history.numbers()]) + 1,
        transaction=transaction.id,
        time=tools.now(),
        verb=transaction.begun.verb,
        bundles=plan.bundles,
        files={path: _with_stat(tools, path, record, touched) for path, record in plan.files.items()},
        displaced={step.path: step.old for step in plan.steps if step.edited and step.old is not None},
        restores=restores,
    )


def _with_stat(tools: Tools, path: str, record: FileRecord, touched: set[str]) -> FileRecord:
    if path not in touched and record.stat is not None:
        return record
    status = tools.host.lstat(path)
    return msgspec.structs.replace(record, stat=stat_of(status) if status else None)


def _failed(tools: Tools, transaction: Transaction, staged: Staged | None, error: BaseException) -> BaseException:
    """Bring everything back, then say what happened with the right class of error."""
    left: list[Issue] = []
    transaction.taken_back = True
    try:
        left += go_back(tools, Journal(begun=transaction.begun, staged=staged))
        tools.history.audit(_audit_line(tools, transaction, error))
    except (AshoreError, OSError) as second:
        left.append(Issue(where="", message=str(second), remedy="run: ashore recover"))
    if left:
        return ChangedError(
            f"{transaction.begun.verb} failed, and not everything could be brought back",
            cause=str(error),
            remedy="put right what is listed, then run: ashore recover",
            issues=left,
        )
    if isinstance(error, OSError):
        return UnchangedError(f"{transaction.begun.verb} failed; the host is as it was", cause=_reason(error))
    return error


def _audit_line(tools: Tools, transaction: Transaction, error: BaseException) -> dict[str, object]:
    return {
        "time": tools.now(),
        "transaction": transaction.id,
        "generation": tools.history.current_number() or 0,
        "verb": transaction.begun.verb,
        "failed": str(error) or type(error).__name__,
    }


def _reason(error: OSError) -> str:
    at = f" ({error.filename})" if error.filename else ""
    return (error.strerror or str(error)) + at


def contents_of(plan: Plan) -> set[Digest]:
    """Every content that carrying out a plan needs."""
    return {step.new.digest for step in plan.steps if step.new is not None and step.new.digest}
