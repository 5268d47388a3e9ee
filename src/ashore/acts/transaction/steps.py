# SPDX-License-Identifier: Apache-2.0
"""Steps of bundles: run in their phase, told in the audit log, undone where everything went back. Live roots only."""

from collections.abc import Sequence

from ashore.acts.tools import Tools
from ashore.acts.transaction import due
from ashore.errors import AS_BEFORE, AshoreError, Issue, TriggerFailedError, without_promise
from ashore.mechanisms.state import journal
from ashore.nouns.bundle import Phase
from ashore.nouns.journal import Due, Journal
from ashore.nouns.plan import PlannedStep
from ashore.nouns.triggers import Command
from ashore.rules.steps import environment


def run_before(tools: Tools, commands: Sequence[PlannedStep], transaction: str) -> None:
    """Run the steps that come first; each is in the journal before it begins, so that it can be undone.

    Raises:
        TriggerFailedError: one failed.
    """
    begun: list[str] = []
    for planned in _of(commands, Phase.BEFORE):
        begun.append(planned.name)
        journal.ran(tools.state, tuple(begun))
        _run(tools, planned, transaction)


def run_after(tools: Tools, commands: Sequence[PlannedStep], transaction: str) -> None:
    """Run the steps that come when everything is healthy.

    Raises:
        TriggerFailedError: one failed.
    """
    for planned in _of(commands, Phase.AFTER):
        _run(tools, planned, transaction)


def undo(tools: Tools, left: Journal, *, same_boot: bool) -> list[Issue]:
    """Undo the steps that were begun, the last one first; in another boot, when the host is up."""
    if left.staged is None or not left.ran:
        return []
    undoing = {planned.name: planned for planned in _of(left.staged.commands, Phase.UNDO)}
    chosen = [undoing[name] for name in reversed(left.ran) if name in undoing]
    transaction = left.begun.transaction
    if not same_boot:
        due.put_off(tools, (_due(planned, transaction) for planned in chosen))
        return []
    issues = []
    for planned in chosen:
        try:
            _run(tools, planned, transaction)
        except AshoreError as error:
            issues.append(Issue(where=planned.name, message=without_promise(error), remedy="do by hand what it does"))
    return issues


def _of(commands: Sequence[PlannedStep], phase: Phase) -> list[PlannedStep]:
    return [planned for planned in commands if planned.step.phase is phase]


def _run(tools: Tools, planned: PlannedStep, transaction: str) -> None:
    step = planned.step
    tools.progress.say(f"{step.phase} {planned.name}: {step.reason}")
    line: dict[str, object] = {
        "time": tools.now(),
        "transaction": transaction,
        "bundle": planned.bundle,
        "step": step.name,
        "phase": step.phase,
    }
    try:
        if tools.programs is None:
            raise AshoreError("nothing can be run here")
        env = environment(planned, transaction)
        line["output"] = tools.programs.run(step.command, seconds=step.within, env=env)
    except AshoreError as error:
        line["failed"] = str(error)
        raise TriggerFailedError(
            f"the step {planned.name} failed{AS_BEFORE}",
            cause=str(error),
            remedy="put right what is named, then install it again",
        ) from error
    finally:
        tools.history.audit(line)


def _due(planned: PlannedStep, transaction: str) -> Due:
    return Due(
        what=f"{planned.step.phase} {planned.name}",
        command=Command(planned.step.command),
        since=transaction,
        seconds=planned.step.within,
        environment=tuple(environment(planned, transaction).items()),
    )
