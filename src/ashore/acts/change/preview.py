# SPDX-License-Identifier: Apache-2.0
"""What a story would do: its plan, and nothing changed."""

import os
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ashore.acts.change.anew import wish_upgraded
from ashore.acts.change.install import BACK, BY_HAND, forgotten, supply_of, to_confirm
from ashore.acts.change.noop import nothing_to_do
from ashore.acts.change.wishes import Wish, refuse_older, refuse_unknown, wish_back, wish_for, wish_without
from ashore.acts.fetch.places import IntoCache
from ashore.acts.plan.differences import compared
from ashore.acts.plan.planning import Beside, make_plan
from ashore.acts.tools import Tools
from ashore.errors import UnchangedError
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.stage.supply import Supply
from ashore.mechanisms.state import journal
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.confirm import Asked
from ashore.nouns.plan import Plan

Foreseen = tuple[Plan, Supply]
"""The supply has the contents, to show differences."""


def plan_install(tools: Tools, asks: Sequence[Ask], *, adopt_all: bool = False, confirm: Asked = BY_HAND) -> Foreseen:
    """What `install` would do.

    Raises:
        AshoreError: as `foresee`.
    """
    plan, supply = foresee(tools, partial(wish_for, asks=asks), adopt_all=adopt_all, confirm=confirm)
    return _as_far_as_looked(tools, plan, asks), supply


def plan_upgrade(
    tools: Tools, asks: Sequence[Ask], *, all_of_them: bool, adopt_all: bool = False, confirm: Asked = BY_HAND
) -> Foreseen:
    """What `install` would do for the verb upgrade.

    Raises:
        AshoreError: as `foresee`.
    """
    wished = partial(wish_upgraded, asks=asks, all_of_them=all_of_them)
    plan, supply = foresee(tools, wished, adopt_all=adopt_all, confirm=confirm)
    return _as_far_as_looked(tools, plan, asks, without_gone=all_of_them), supply


def _as_far_as_looked(tools: Tools, plan: Plan, asks: Sequence[Ask], *, without_gone: bool = False) -> Plan:
    """`plan`, as the story sees it, which does not look so far where nothing is to be done.

    What an older ashore recorded otherwise stays until there is something to do.
    """
    same = plan.empty and plan.changes and nothing_to_do(tools, asks, without_gone=without_gone)
    return msgspec.structs.replace(plan, before=plan.bundles) if same else plan


def plan_removal(tools: Tools, names: Sequence[str], *, purge: bool = False, confirm: Asked = BY_HAND) -> Foreseen:
    """What `remove` would do.

    Raises:
        AshoreError: as `foresee`.
    """
    if tools.state.fd is None:
        refuse_unknown(names)
    plan, supply = foresee(tools, partial(wish_without, names=names, for_good=purge), confirm=confirm, backward=True)
    return (forgotten(plan) if purge else plan), supply


def plan_rollback(tools: Tools, *, to: int | None = None, bundle: str = "", confirm: Asked = BACK) -> Foreseen:
    """What `roll_back` would do.

    Raises:
        AshoreError: as `foresee`.
    """
    if tools.state.fd is None:
        refuse_older(to, bundle)
    return foresee(tools, partial(wish_back, to=to, bundle=bundle), confirm=confirm, backward=True)


def foresee(
    tools: Tools,
    wished: Callable[[Tools], Wish],
    *,
    adopt_all: bool = False,
    confirm: Asked = BY_HAND,
    backward: bool = False,
) -> Foreseen:
    """The plan for what is wished with the tools that it is given.

    `backward`: it is what one takes from a host that is damaged.

    Raises:
        UnchangedError: an interrupted transaction has to be recovered first.
        BusyError: a change is being made.
        ChangedError: a record is damaged.
        AshoreError: as the story, but for conflicts, which the plan has.
    """
    refuse_interrupted(tools)
    read_config(tools.host)
    tools.history.check()
    if tools.owner is not None and os.stat(tools.host.root).st_uid != tools.owner[0]:
        tools = msgspec.structs.replace(tools, as_root=True)  # in a tree of somebody else one can only look
    current = tools.history.current()
    target = wished(tools)(current, IntoCache(tools), Secrets(tools.state).salt(create=False, anew=backward))
    supply = supply_of(tools, current, target)
    beside = Beside(adopt_all=adopt_all, away=target.away, actions=target.actions, verify=target.verify)
    plan = make_plan(tools, current, target.parts, supply, beside)
    for part in target.parts:
        if part.more is not None:
            part.more(compared(tools, plan))
    return to_confirm(tools, plan, current, target, confirm), supply


def refuse_interrupted(tools: Tools) -> None:
    """
    Raises:
        UnchangedError, BusyError: as `foresee`.
    """
    if not journal.exists(tools.state):
        return
    with tools.state.locked():  # Who held it until now has ended what there was.
        interrupted = journal.exists(tools.state)
    if interrupted:
        raise UnchangedError(
            "a transaction was interrupted, so the host is between two generations", remedy="run: ashore recover"
        )
