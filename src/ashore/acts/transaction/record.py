# SPDX-License-Identifier: Apache-2.0
"""What is recorded of a change that was carried out: a generation."""

from collections.abc import Mapping

import msgspec

from ashore.acts.tools import Tools
from ashore.mechanisms.attributes import stat_of
from ashore.mechanisms.stage.staging import Staging
from ashore.nouns.confirm import NOT_CONFIRMED
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.journal import Begun, Held
from ashore.nouns.plan import Action, Plan, Step


class Afterwards(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded beside the plan once it was carried out."""

    held: Mapping[str, Held] = {}
    """The digests that are held from then on."""
    restores: int = 0
    bundle_restores: Mapping[str, int] = {}
    ends_waiting: bool = False
    """It brings back what needs no confirmation: nothing waits for one from then on."""
    taken_back: str = ""
    """Why it goes back by itself. Nobody is there to decide: a unit that does not come up, or a trigger that fails,
    is said, and is no reason to stay where we are."""


def generation_of(
    tools: Tools, begun: Begun, staging: Staging, plan: Plan, previous: Generation, afterwards: Afterwards
) -> Generation:
    """The generation that a plan has made, next in number; not yet written."""
    # The stat of a folder that came back with an administrator's mode would vouch for what is not so.
    back = {step.path for step in plan.steps if step.action is Action.MKDIR and not _is_recorded(step, plan)}
    touched = {step.path for step in plan.steps} - back
    return Generation(
        number=max([previous.number, *tools.history.numbers()]) + 1,
        transaction=begun.transaction,
        time=tools.now(),
        verb=begun.verb,
        bundles=plan.bundles,
        files={path: _with_stat(staging, path, record, touched) for path, record in plan.files.items()},
        originals=plan.originals,
        gone=plan.gone,
        displaced={step.path: step.old for step in plan.steps if step.edited and step.old is not None},
        restores=afterwards.restores,
        bundle_restores=afterwards.bundle_restores,
        settings=plan.settings,
        made=plan.made,
        started=plan.started,
        gave_way=plan.gave_way,
        taken_back=bool(afterwards.taken_back),
        why="" if afterwards.taken_back == NOT_CONFIRMED else afterwards.taken_back,
    )


def _is_recorded(made: Step, plan: Plan) -> bool:
    record = plan.files.get(made.path)
    return record is not None and made.new is not None and made.new.same(record.entry)


def _with_stat(staging: Staging, path: str, record: FileRecord, touched: set[str]) -> FileRecord:
    if path not in touched:
        return record
    stat = staging.settled.get(path)
    if stat is None and (status := staging.host.lstat(path)) is not None:
        stat = stat_of(status)
    return msgspec.structs.replace(record, stat=stat)
