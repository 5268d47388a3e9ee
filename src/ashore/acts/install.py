# SPDX-License-Identifier: Apache-2.0
"""The stories: install, upgrade, remove, roll back. Each is a way to say what is wanted; `change` does the rest."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ashore.acts import discard
from ashore.acts.asking import installed
from ashore.acts.complete import complete
from ashore.acts.desire import Part, as_recorded, desire
from ashore.acts.due import run_due
from ashore.acts.obtain import IntoCache, IntoStaging, Place
from ashore.acts.outcome import Outcome
from ashore.acts.planning import make_plan, on_host, records_anything, refuse_conflicts
from ashore.acts.recover import recover
from ashore.acts.tools import Tools
from ashore.acts.transaction import Afterwards, carry_out, opened
from ashore.errors import (
    DamagedContentError,
    InputError,
    UnchangedError,
    UnitsFailedError,
    UsageError,
)
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.secrets import Secrets
from ashore.mechanisms.supply import Opener, Supply
from ashore.nouns.ask import Ask
from ashore.nouns.files import Entry, shown
from ashore.nouns.generation import BundleRecord, Generation, Verb
from ashore.nouns.journal import Held
from ashore.nouns.plan import Plan
from ashore.rules import retention
from ashore.rules.wayback import edits_when_left


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of the whole host."""

    parts: tuple[Part, ...]
    restores: int = 0
    bundle_restores: Mapping[str, int] = {}
    openers: tuple[Opener, ...] = ()
    let_go: tuple[BundleRecord, ...] = ()
    """Versions that a rollback leaves behind: their digests are held."""


Wish = Callable[[Generation, Place, bytes], Target]
"""From the current generation, a place for contents, and the host's salt, to a target."""


def install(tools: Tools, asks: Sequence[Ask], verb: Verb = Verb.INSTALL, *, adopt_all: bool = False) -> Outcome:
    """Install bundles, or bring installed ones to the images that are named.

    Raises:
        AshoreError: with the host as it was, unless it is a ChangedError.
    """
    return change(tools, verb, wish_for(tools, asks), adopt_all=adopt_all)


def remove(tools: Tools, names: Sequence[str], *, purge: bool = False) -> Outcome:
    """Remove bundles, and give back what was there before.

    `purge` forgets the past as well: older generations, edits that were moved aside, and, when no bundle
    is left, everything of ashore.
    """
    outcome = change(tools, Verb.REMOVE, wish_without(names))
    if purge:
        discard.purge(tools, everything=not outcome.generation.bundles)
    return outcome


def roll_back(tools: Tools, *, to: int | None = None, bundle: str = "") -> Outcome:
    """Go back to the generation before, to number `to`, or for one bundle to its version before."""
    return change(tools, Verb.ROLLBACK, wish_back(tools, to, bundle))


def change(tools: Tools, verb: Verb, wish: Wish, *, adopt_all: bool = False) -> Outcome:
    """The one way to change a host: recover, wish, plan, refuse or carry out."""
    try:
        try:
            return _change(tools, verb, wish, adopt_all)
        except DamagedContentError as error:
            # Everything was taken back. What is damaged is dropped, all of it at once: then it is missed in time.
            tools.progress.say(f"{error}; looking for it elsewhere")
            with tools.state.locked():
                tools.content.scrub()
            return _change(tools, verb, wish, adopt_all)
    except OSError as error:
        # `carry_out` answers for what it does; whatever else fails does so before the first change.
        at = f" ({error.filename})" if error.filename else ""
        cause = f"{error.strerror or error}{at}"
        raise UnchangedError(f"{verb} failed; the host is as it was", cause=cause) from error


def _change(tools: Tools, verb: Verb, wish: Wish, adopt_all: bool) -> Outcome:
    with tools.state.locked():
        recovered = recover(tools)
        run_due(tools)
        read_config(tools.host)  # what is wrong with it is said before the first change, not at the end
        current = tools.history.current()
        tools.history.check()
        salt = Secrets(tools.state).salt(create=True)
        with opened(tools, verb) as transaction:
            place = IntoStaging(tools, transaction.staging, tools.cache)
            target = wish(current, place, salt)
            supply = _supply(tools, current, target)
            plan = make_plan(tools, current, target.parts, supply, adopt_all=adopt_all)
            refuse_conflicts(plan)
            if plan.empty and not records_anything(plan, current):
                return Outcome(plan=plan, generation=current, changed=False, recovered=recovered)
            for part in target.parts:
                for value in part.secrets.values():
                    Secrets(tools.state).put(value, salt)
            supply = complete(tools, transaction.staging, plan, target.parts, supply)
            afterwards = Afterwards(
                held=_held_after(tools, plan, target.let_go),
                restores=target.restores,
                bundle_restores=target.bundle_restores,
            )
            try:
                done = carry_out(transaction, plan, supply, previous=current, afterwards=afterwards)
            except UnitsFailedError as error:
                reason = f"units failed: {error.issues[0]}" if error.issues else str(error)
                tools.history.hold(_held(tools, tools.history.held(), _changed_bundles(plan, current), reason))
                raise
        for key in place.used:
            tools.cache.drop(key)
        return Outcome(plan=plan, generation=done, changed=True, recovered=recovered)


def plan_install(tools: Tools, asks: Sequence[Ask], *, adopt_all: bool = False) -> tuple[Plan, Supply]:
    """What `install` would do; changes nothing. The supply has the contents, to show differences.

    Raises:
        UnchangedError: an interrupted transaction has to be recovered first.
    """
    from ashore.mechanisms import journal

    if journal.exists(tools.state):
        with tools.state.locked():  # Who holds the lock is at work, and nothing was interrupted.
            pass
        raise UnchangedError(
            "a transaction was interrupted, so the host is between two generations", remedy="run: ashore recover"
        )
    read_config(tools.host)
    current = tools.history.current()
    target = wish_for(tools, asks)(current, IntoCache(tools.cache), Secrets(tools.state).salt(create=False))
    supply = _supply(tools, current, target)
    return make_plan(tools, current, target.parts, supply, adopt_all=adopt_all), supply


def wish_for(tools: Tools, asks: Sequence[Ask]) -> Wish:
    """These bundles new, the others as they are."""

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        new = {}
        for ask in asks:
            part = desire(tools, ask, current, place, salt)
            if part.record.name in new:
                raise InputError(f"two of the images carry a bundle named {part.record.name}")
            new[part.record.name] = part
        others = [as_recorded(current, b.name) for b in current.bundles if b.name not in new]
        return Target(parts=(*new.values(), *others))

    return wish


def wish_without(names: Sequence[str]) -> Wish:
    """All bundles but these."""

    def wish(current: Generation, _place: Place, _salt: bytes) -> Target:
        for name in names:
            installed(current, name)
        return Target(parts=tuple(as_recorded(current, b.name) for b in current.bundles if b.name not in names))

    return wish


def wish_back(tools: Tools, to: int | None, bundle: str) -> Wish:
    """An older generation, whole or for one bundle."""

    def wish(current: Generation, _place: Place, _salt: bytes) -> Target:
        recorded = list(tools.history.all())
        older = _older(current, recorded, to, bundle)
        edits = edits_when_left(older, recorded, tools.history.edits())
        at_hand = Supply(on_host(tools, current))

        def part(name: str) -> Part:
            return _with_edits(as_recorded(older, name, settled=False), edits, at_hand)

        if bundle:
            back = [part(bundle)] if older.bundle(bundle) else []
            others = [as_recorded(current, b.name) for b in current.bundles if b.name != bundle]
            return Target(
                parts=(*back, *others),
                bundle_restores={bundle: older.number},
                let_go=_left_behind(current, older, bundle),
            )
        parts = tuple(part(b.name) for b in older.bundles)
        return Target(parts=parts, restores=older.number, let_go=_left_behind(current, older, ""))

    return wish


def _older(current: Generation, recorded: Sequence[Generation], to: int | None, bundle: str) -> Generation:
    if to is not None:
        found = next((g for g in recorded if g.number == to), None)
        if found is None:
            kept = ", ".join(str(g.number) for g in recorded) or "none"
            raise UsageError(f"there is no generation {to}", remedy=f"kept are: {kept}")
        return found
    older = retention.before(current, recorded, bundle)
    if bundle:
        now = installed(current, bundle)
        while older is not None and older.bundle(bundle) == now:
            older = retention.before(older, recorded, bundle)
    if older is None:
        raise UsageError(
            "there is no generation before this one",
            remedy="ashore history lists what is kept; ashore remove takes a bundle away",
        )
    return older


def _with_edits(part: Part, edits: Mapping[str, Entry], at_hand: Supply) -> Part:
    """The administrators' edits of that time come back with their files, as far as nobody discarded them."""
    notes = []
    wanted = []
    for item in part.wanted:
        edit = edits.get(item.path, item.edit)
        if edit is not None and edit.same(item.entry):
            edit = None
        if edit is not None and edit.digest and at_hand.missing([edit.digest]):
            notes.append(f"the edit of {shown(item.path)} from that time is no longer in the store")
            edit = None
        wanted.append(msgspec.structs.replace(item, edit=edit))
    return msgspec.structs.replace(part, wanted=tuple(wanted), notes=(*part.notes, *notes))


def _left_behind(current: Generation, older: Generation, bundle: str) -> tuple[BundleRecord, ...]:
    names = {bundle} if bundle else {b.name for b in current.bundles}
    kept = {b.digest for b in older.bundles}
    return tuple(b for b in current.bundles if b.name in names and b.digest not in kept)


def _supply(tools: Tools, current: Generation, target: Target) -> Supply:
    return Supply([*(o for part in target.parts for o in part.openers), *target.openers, *on_host(tools, current)])


def _changed_bundles(plan: Plan, current: Generation) -> tuple[BundleRecord, ...]:
    before = {b.digest for b in current.bundles}
    return tuple(b for b in plan.bundles if b.digest not in before)


def _held_after(tools: Tools, plan: Plan, let_go: Sequence[BundleRecord]) -> Mapping[str, Held]:
    """Who installs a held digest by name has asked for it; what a rollback leaves behind is held."""
    free = {bundle.digest for bundle in plan.bundles}
    held: dict[str, Held] = {d: h for d, h in tools.history.held().items() if d not in free}
    return _held(tools, held, let_go, "rolled back")


def _held(tools: Tools, held: Mapping[str, Held], records: Sequence[BundleRecord], reason: str) -> Mapping[str, Held]:
    held = dict(held)
    for r in records:
        held[r.digest] = Held(bundle=r.name, reference=r.reference, reason=reason, time=tools.now())
    return held
