# SPDX-License-Identifier: Apache-2.0
"""The stories: install, upgrade, remove, roll back. Each is a way to say what is wanted; `change` does the rest."""

import contextlib
from collections.abc import Sequence

import msgspec

from ashore.acts.change import discard
from ashore.acts.change.anew import wish_upgraded
from ashore.acts.change.holding import held_after, hold
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.wishes import Target, Wish, refuse_older, refuse_unknown, wish_back, wish_for, wish_without
from ashore.acts.fetch.bases import on_host
from ashore.acts.fetch.places import IntoStaging
from ashore.acts.plan.planning import Beside, make_plan, records_anything, refuse_conflicts
from ashore.acts.tools import Tools
from ashore.acts.transaction import recovery
from ashore.acts.transaction.complete import complete
from ashore.acts.transaction.due import run_due
from ashore.acts.transaction.record import Afterwards
from ashore.acts.transaction.recover import recover
from ashore.acts.transaction.transaction import carry_out, opened
from ashore.errors import (
    AshoreError,
    ChangedError,
    ContentRefusedError,
    DamagedContentError,
    InputError,
    UnchangedError,
    UnitsFailedError,
    UsageError,
    reason_of,
    remedy_of,
)
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.stage.supply import Supply
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.confirm import Asked
from ashore.nouns.generation import Generation, Verb
from ashore.nouns.plan import Plan
from ashore.rules.confirm import decide

BY_HAND = Asked()
"""Who types the command can confirm it."""
BACK = Asked(declared=False, by_paths=False)
"""What was there before has to be confirmed only if somebody asks for that."""


def install(
    tools: Tools,
    asks: Sequence[Ask],
    verb: Verb = Verb.INSTALL,
    *,
    adopt_all: bool = False,
    confirm: Asked = BY_HAND,
    all_of_them: bool = False,
) -> Outcome:
    """Install bundles, or bring installed ones to the images that are named.

    `all_of_them`: nobody named one to be upgraded, so what is held is passed over.

    Raises:
        AshoreError: with the host as it was, unless it is a ChangedError.
    """
    upgrade = verb is Verb.UPGRADE
    wish = wish_upgraded(tools, asks, all_of_them=all_of_them) if upgrade else wish_for(tools, asks)
    return change(tools, verb, wish, adopt_all=adopt_all, confirm=confirm)


def remove(tools: Tools, names: Sequence[str], *, purge: bool = False, confirm: Asked = BY_HAND) -> Outcome:
    """Remove bundles, and give back what was there before.

    `purge` forgets the past as well: older generations, and edits that were moved aside.
    """
    if tools.state.fd is None:
        refuse_unknown(names)
    outcome = change(tools, Verb.REMOVE, wish_without(tools, names, for_good=purge), confirm=confirm)
    if purge:
        try:
            discard.purge(tools)
        except AshoreError as error:
            raise ChangedError(
                "removed, but not all of the past is forgotten", cause=str(error), remedy="run: ashore remove --purge"
            ) from error
        return msgspec.structs.replace(outcome, plan=forgotten(outcome.plan))
    return outcome


def forgotten(plan: Plan) -> Plan:
    """`plan`, when the store has none of the edits any more that it replaced or took away."""
    steps = [msgspec.structs.replace(s, note="an edit; --purge dropped it") if s.edited else s for s in plan.steps]
    return msgspec.structs.replace(plan, steps=tuple(steps))


def roll_back(tools: Tools, *, to: int | None = None, bundle: str = "", confirm: Asked = BACK) -> Outcome:
    """Go back to the generation before, to number `to`, or for one bundle to its version before.

    Where a change waits for confirmation, the generation before is the newest that does not.
    """
    if tools.state.fd is None:
        refuse_older(to, bundle)
    return change(tools, Verb.ROLLBACK, wish_back(tools, to, bundle), confirm=confirm)


def change(
    tools: Tools,
    verb: Verb,
    wish: Wish,
    *,
    adopt_all: bool = False,
    confirm: Asked = BY_HAND,
    taken_back: str = "",
) -> Outcome:
    """The one way to change a host: recover, wish, plan, refuse or carry out.

    `taken_back` says why it goes back by itself, if it does. Then nobody is there to decide: what stands in the way
    goes to the store as an edit.
    """
    order = _Order(verb=verb, wish=wish, adopt_all=adopt_all, confirm=confirm, taken_back=taken_back)
    fresh = tools.state.fd is None
    try:
        try:
            return _change(tools, order)
        except DamagedContentError as error:
            # Everything was taken back. What is damaged is dropped, all of it at once: then it is missed in time.
            tools.progress.say(f"{error}; looking for it elsewhere")
            with tools.state.locked():
                tools.content.scrub()
            return _change(tools, order)
        except ContentRefusedError as error:
            if not taken_back:
                raise
            tools.progress.say(f"{error}; edits stay in the store")
            return _change(tools, msgspec.structs.replace(order, exactly=True))
    except OSError as error:
        # `carry_out` answers for what it does; whatever else fails does so before the first change.
        said = f"{verb} failed; the host is as it was"
        raise UnchangedError(said, cause=reason_of(error), remedy=remedy_of(error)) from error
    finally:
        if fresh:  # and if nothing came of it, it stays so
            from ashore.acts.change.farewell import unmake

            unmake(tools)


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """What `change` was asked for."""

    verb: Verb
    wish: Wish
    adopt_all: bool
    confirm: Asked
    taken_back: str
    exactly: bool = False
    """Without edits that were made meanwhile, since a validator refused what they would be merged to."""


def _change(tools: Tools, order: _Order) -> Outcome:
    with tools.state.locked():
        recovered = recover(tools)
        run_due(tools)
        _check_config(tools, order)
        current = tools.history.current()
        tools.history.check()
        # A way back, and a removal, are what one takes from a host that is damaged.
        backward = bool(order.taken_back) or order.verb in (Verb.ROLLBACK, Verb.REMOVE)
        salt = Secrets(tools.state).salt(create=True, anew=backward)
        with opened(tools, order.verb) as transaction:
            place = IntoStaging(tools, transaction.staging)
            target = order.wish(current, place, salt)
            supply = supply_of(tools, current, target)
            plan = _planned(tools, order, current, target, supply)
            for part in target.parts:  # also where nothing else is to do: one that was lost is said anew
                for value in part.secrets.values():
                    Secrets(tools.state).put(value, salt)
            if plan.empty and not target.further and not records_anything(plan, current):
                return Outcome(plan=plan, generation=current, changed=False, recovered=recovered)
            if recovery.place(tools, plan.files, current.files):  # perhaps in a folder that the plan would have made
                plan = _planned(tools, order, current, target, supply)
            supply = complete(tools, transaction.staging, plan, target.parts, supply)
            afterwards = Afterwards(
                held=held_after(tools, plan, target, order.taken_back),
                restores=target.restores,
                bundle_restores=target.bundle_restores,
                ends_waiting=target.ends_waiting,
                taken_back=order.taken_back,
            )
            try:
                done = carry_out(transaction, plan, supply, previous=current, afterwards=afterwards)
            except (UnitsFailedError, ContentRefusedError) as error:
                if not order.taken_back:
                    hold(tools, order.verb, plan, current, error)
                raise
            except ChangedError as error:
                # The way back failed as well: what was wrong with the image is why there had to be one.
                if isinstance(error.__cause__, (UnitsFailedError, ContentRefusedError)) and not order.taken_back:
                    with contextlib.suppress(OSError):
                        hold(tools, order.verb, plan, current, error.__cause__)
                raise
            except DamagedContentError:
                for key in place.used:  # the next try fetches it
                    tools.cache.distrust(key)
                raise
        for key in place.used:
            tools.cache.drop(key)
        return Outcome(
            plan=plan, generation=done, changed=True, recovered=recovered, waiting=tools.history.provisional()
        )


def _check_config(tools: Tools, order: _Order) -> None:
    """What is wrong with it is said before the first change, not at the end; what goes back by itself needs none of it.

    Raises:
        InputError: all of it.
    """
    try:
        read_config(tools.host)
    except InputError as error:
        if not order.taken_back:
            raise
        tools.progress.say(str(error))


def _beside(order: _Order, target: Target) -> Beside:
    return Beside(
        adopt_all=order.adopt_all,
        away=target.away,
        actions=target.actions,
        verify=target.verify,
        displace=bool(order.taken_back),
        exactly=order.exactly,
    )


def _planned(tools: Tools, order: _Order, current: Generation, target: Target, supply: Supply) -> Plan:
    plan = make_plan(tools, current, target.parts, supply, _beside(order, target))
    plan = to_confirm(tools, plan, current, target, order.confirm)
    refuse_conflicts(plan)
    return plan


def to_confirm(tools: Tools, plan: Plan, current: Generation, target: Target, asked: Asked) -> Plan:
    """The plan, and whether it has to be confirmed: never on an offline root, nor at boot, where nobody is."""
    if asked.seconds and not tools.live:
        raise UsageError("nothing runs on an offline root that could take a change back", remedy="leave out --confirm")
    if not tools.live or tools.booting or target.ends_waiting:
        return plan
    new, old = ({b.name: b for b in bundles} for bundles in (plan.bundles, current.bundles))
    return msgspec.structs.replace(plan, confirm=decide(asked, plan.steps, new, old))


def supply_of(tools: Tools, current: Generation, target: Target) -> Supply:
    """Where contents come from: what was fetched, then what the host has."""
    return Supply([*(o for part in target.parts for o in part.openers), *target.openers, *on_host(tools, current)])
