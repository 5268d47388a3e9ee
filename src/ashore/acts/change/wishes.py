# SPDX-License-Identifier: Apache-2.0
"""What can be wanted of a host: other images, bundles gone, an older generation. For `change` to call."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ashore.acts.change.asking import installed
from ashore.acts.fetch.bases import on_host
from ashore.acts.fetch.places import Place
from ashore.acts.plan.desire import Part, as_recorded, desire
from ashore.acts.plan.enabling import enabled
from ashore.acts.recorded import renamed
from ashore.acts.tools import Tools
from ashore.errors import InputError, Issue, UnchangedError, UsageError
from ashore.mechanisms.stage.supply import Opener, Supply
from ashore.nouns.ask import Ask
from ashore.nouns.files import Entry, Kind, printable, shown
from ashore.nouns.generation import EMPTY, BundleRecord, Generation
from ashore.nouns.units import UnitAction
from ashore.rules.files import retention
from ashore.rules.files.wayback import edits_when_left


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of the whole host."""

    parts: tuple[Part, ...]
    restores: int = 0
    further: bool = False
    """`restores` is another than what holds now: the next way back goes on from there, whatever this one changes."""
    bundle_restores: Mapping[str, int] = {}
    openers: tuple[Opener, ...] = ()
    let_go: tuple[BundleRecord, ...] = ()
    """Versions that a rollback leaves behind: their digests are held."""
    to_blame: frozenset[str] | None = None
    """The bundles among them that are known to be why; None where somebody wants all of it gone."""
    ends_waiting: bool = False
    """It leads back to what needs no confirmation."""
    away: Mapping[str, str] = {}
    """Paths of nobody that go, each with why."""
    actions: tuple[UnitAction, ...] = ()
    """What units do beside what the files ask for."""
    verify: bool = False
    """Contents are read whatever their stats say."""


Wish = Callable[[Generation, Place, bytes], Target]
"""From the current generation, a place for contents, and the host's salt, to a target."""


def wish_for(tools: Tools, asks: Sequence[Ask]) -> Wish:
    """These bundles new, the others as they are."""

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        return with_others(tools, current, [(ask, desire(tools, ask, current, place, salt)) for ask in asks])

    return wish


def with_others(tools: Tools, current: Generation, asked: Sequence[tuple[Ask, Part]]) -> Target:
    """What these were asked to be, and the other bundles of the host as they are.

    Raises:
        InputError: a name would stand for two bundles, a unit to enable is nowhere, or one bundle's secret would be
            another one's plain value.
    """
    _refuse_told_to_others(asked)
    parts: dict[str, Part] = {}
    replaced: dict[str, str] = {}
    leaving = {ask.name for ask, part in asked if part.record.name != ask.name}
    for ask, part in asked:
        name = part.record.name
        old = renamed(ask, current, name)
        if old is not None:
            there = current.bundle(name)
            part = _in_place_of(old, part, None if there is not None and there.name in leaving else there)
            replaced[old.name] = name
        if name in parts and (name not in replaced.values() or parts[name].record.digest != part.record.digest):
            raise InputError(
                f"two of the images carry a bundle named {name}: {parts[name].record.reference} and "
                f"{part.record.reference}",
                remedy="name one of them, or build one anew with another name in its bundle.toml",
            )
        parts[name] = part
    others = [as_recorded(current, b.name) for b in current.bundles if b.name not in parts.keys() | replaced.keys()]
    return Target(parts=enabled(tools, (*parts.values(), *others), current))


def _refuse_told_to_others(asked: Sequence[tuple[Ask, Part]]) -> None:
    """A --set for several bundles, which one keeps as a secret and another would write down for all to read.

    Raises:
        InputError: there is one.
    """
    told = {key for ask, _ in asked for key in ask.sets}
    records = [part.record for _, part in asked]
    issues = []
    for key in sorted(told):
        keepers = [r.name for r in records if key in r.sets and r.sets[key].secret]
        others = [r.name for r in records if key in r.sets and not r.sets[key].secret]
        if keepers and others:
            text = f"a secret of {keepers[0]}, and {others[0]} reads it without calling it one"
            issues.append(Issue(where=f"--set {printable(key)}", message=text))
    if issues:
        remedy = "have its bundle.toml declare it as a secret too, or say it to one of them at a time"
        raise InputError("what is a secret for one bundle is none for another", issues=issues, remedy=remedy)


def _in_place_of(old: BundleRecord, part: Part, there: BundleRecord | None) -> Part:
    """A bundle that got another name: who asks for the old one gets it instead."""
    name = part.record.name
    if there is not None and there.reference != old.reference:
        raise InputError(
            f"{old.reference} carries the bundle {name} now, which is installed from {there.reference}",
            remedy=f"have it name the image of {old.name} again, or: ashore remove {old.name}",
        )
    return msgspec.structs.replace(part, notes=(*part.notes, f"{old.name} goes: {old.reference} carries {name} now"))


def wish_without(tools: Tools, names: Sequence[str], *, for_good: bool = False) -> Wish:
    """All bundles but these; `for_good`: there will be no way back, so nothing of it is to be confirmed."""

    def wish(current: Generation, _place: Place, _salt: bytes) -> Target:
        if for_good:
            refuse_waiting(tools)
        for name in names:
            installed(current, name)
        parts = tuple(as_recorded(current, b.name) for b in current.bundles if b.name not in names)
        return Target(parts=parts, ends_waiting=for_good)

    return wish


def refuse_waiting(tools: Tools) -> None:
    """Who forgets the past takes the way back from what waits for confirmation. The lock is held.

    Raises:
        UnchangedError: something waits.
    """
    if tools.history.provisional() is not None:
        raise UnchangedError(
            "a change waits for confirmation, and --purge would leave it no way back",
            remedy="ashore confirm keeps it, ashore rollback takes it back; then purge",
        )


def refuse_unknown(names: Sequence[str]) -> None:
    """Names of bundles, on a host where ashore never was: it is not to be there for having said no.

    Raises:
        UsageError: there are any.
    """
    for name in names:
        installed(EMPTY, name)


def refuse_older(to: int | None, bundle: str) -> None:
    """An older generation, likewise.

    Raises:
        UsageError: there is none.
    """
    _older(EMPTY, (), to, bundle)


def wish_back(tools: Tools, to: int | None, bundle: str) -> Wish:
    """An older generation, whole or for one bundle."""

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        recorded = list(tools.history.all())
        waiting = tools.history.provisional()
        number = waiting.back if waiting is not None and to is None and not bundle else to
        if number == 0 and to is None:
            return wish_before_all(current, place, salt)
        older = _older(current, recorded, number, bundle)
        left = retention.last_held(older, recorded, bundle)
        edits = edits_when_left(left, recorded, tools.history.edits())
        at_hand = Supply(on_host(tools, current))

        def part(name: str) -> Part:
            return _with_edits(as_recorded(left, name, settled=False), edits, at_hand)

        if bundle:
            back = [part(bundle)] if older.bundle(bundle) else []
            others = [as_recorded(current, b.name) for b in current.bundles if b.name != bundle]
            return Target(
                parts=(*back, *others),
                bundle_restores={bundle: older.number},
                let_go=_left_behind(current, older, bundle),
            )
        return Target(
            parts=tuple(part(b.name) for b in older.bundles),
            restores=older.number,
            further=retention.is_another(older, current, recorded),
            let_go=_left_behind(current, older, ""),
            ends_waiting=waiting is not None and older.number <= waiting.back,
        )

    return wish


def wish_before_all(current: Generation, _place: Place, _salt: bytes) -> Target:
    """The host before ashore, by the way back."""
    return Target(parts=(), let_go=current.bundles, ends_waiting=True)


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


def _with_edits(part: Part, edits: Mapping[str, Entry | None], at_hand: Supply) -> Part:
    """The administrators' edits of that time come back with their files, as far as nobody discarded them."""
    notes = []
    wanted = []
    for item in part.wanted:
        edit = edits.get(item.path, item.edit)
        absent = edits[item.path] is None if item.path in edits else item.absent
        if absent or (edit is not None and edit.same(item.entry)):
            edit = None
        if edit is not None and edit.kind is Kind.OTHER:
            notes.append(f"the device, FIFO or socket that lay at {shown(item.path)} at that time does not come back")
            edit = None
        if edit is not None and edit.digest and at_hand.missing([edit.digest]):
            notes.append(f"the edit of {shown(item.path)} from that time is no longer in the store")
            edit = None
        wanted.append(msgspec.structs.replace(item, edit=edit, absent=absent))
    return msgspec.structs.replace(part, wanted=tuple(wanted), notes=(*part.notes, *notes))


def _left_behind(current: Generation, older: Generation, bundle: str) -> tuple[BundleRecord, ...]:
    names = {bundle} if bundle else {b.name for b in current.bundles}
    kept = {b.digest for b in older.bundles}
    return tuple(b for b in current.bundles if b.name in names and b.digest not in kept)
