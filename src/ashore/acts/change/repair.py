# SPDX-License-Identifier: Apache-2.0
"""Put right what differs from the generation: by a transaction, from what is on the host, or fetched by digest."""

import stat
from collections.abc import Collection, Mapping, Sequence

import msgspec

from ashore.acts.ask.drifting import host_drift
from ashore.acts.ask.look import named
from ashore.acts.change.install import BACK, change
from ashore.acts.change.outcome import Outcome, nothing_done
from ashore.acts.change.preview import Foreseen, foresee, refuse_interrupted
from ashore.acts.change.wishes import Target
from ashore.acts.fetch.bases import on_host
from ashore.acts.fetch.places import Place
from ashore.acts.plan.desire import Part, as_recorded
from ashore.acts.tools import Tools
from ashore.errors import UsageError
from ashore.mechanisms.stage.supply import Supply
from ashore.mechanisms.state import journal
from ashore.nouns.confirm import Asked
from ashore.nouns.files import Decided, Kind
from ashore.nouns.generation import FileRecord, Generation, Verb
from ashore.nouns.plan import Plan
from ashore.nouns.units import UnitAction, UnitVerb
from ashore.rules.files.drift import Drift, Verdict, repairable, restarting


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and what was left as it is."""

    outcome: Outcome
    left: tuple[Drift, ...] = ()


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be put right: what drifted since the last change, or with `names` (paths, units) what they name."""

    names: tuple[str, ...] = ()
    kept: bool = False
    """What was kept at the last change as well."""
    foreign: bool = False
    """Files of nobody go."""
    verify: bool = False
    """Contents are read whatever their stats say."""

    @property
    def to_bundles(self) -> bool:
        """Whether the bundles' own versions are wanted, and not what lay there after the last change."""
        return self.kept or bool(self.names)


def repair(tools: Tools, scope: Scope, *, confirm: Asked = BACK) -> Repaired:
    """Put right what is in the scope. Contents that are gone from the host are fetched by digest.

    Raises:
        UsageError: nothing that is named differs.
        AshoreError: as `install`.
    """
    left: tuple[Drift, ...] = ()

    def wish(current: Generation, _place: Place, _salt: bytes) -> Target:
        nonlocal left
        chosen, left = _sorted_out(tools, current, scope)
        return _target(tools, current, chosen, scope)

    if not journal.exists(tools.state):
        current = tools.history.current()
        chosen, left = _sorted_out(tools, current, scope)
        if not chosen:
            # Going on would record what lies there as kept.
            return Repaired(outcome=nothing_done(current), left=left)
    outcome = change(tools, Verb.REPAIR, wish, confirm=confirm)
    return Repaired(outcome=outcome, left=left)


def plan_repair(tools: Tools, scope: Scope, *, confirm: Asked = BACK) -> tuple[Foreseen, tuple[Drift, ...]]:
    """What `repair` would do, and what it would leave as it is.

    Raises:
        UsageError: nothing that is named differs.
        AshoreError: as `foresee`.
    """
    refuse_interrupted(tools)
    current = tools.history.current()
    chosen, left = _sorted_out(tools, current, scope)
    if not chosen:
        return (Plan(bundles=current.bundles, before=current.bundles), Supply([])), left

    def wish(current: Generation, _place: Place, _salt: bytes) -> Target:
        return _target(tools, current, chosen, scope)

    return foresee(tools, lambda _: wish, confirm=confirm), left


def _sorted_out(tools: Tools, current: Generation, scope: Scope) -> tuple[tuple[Drift, ...], tuple[Drift, ...]]:
    """What is to be put right, and what is left as it is."""
    found = host_drift(tools, current, verify=scope.verify)
    if scope.names:
        found = named(tools, current, found, scope.names)
        if not found:
            raise UsageError(f"{', '.join(scope.names)}: nothing differs", remedy="ashore diff lists what does")
    at_hand = Supply(on_host(tools, current))
    chosen = tuple(
        d
        for d in found
        if repairable(d, kept=scope.to_bundles, foreign=scope.foreign and _can_go(tools, d.path))
        and (scope.to_bundles or not _is_lost(current.files.get(d.path), at_hand))
    )
    return chosen, tuple(d for d in found if d not in chosen)


def _can_go(tools: Tools, path: str) -> bool:
    """Whether history can say what was there: a folder of nobody stays, and what is no file."""
    status = tools.host.lstat(path)
    return status is None or stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)


def _target(tools: Tools, current: Generation, chosen: Sequence[Drift], scope: Scope) -> Target:
    paths = {d.path for d in chosen}
    parts = (as_recorded(current, bundle.name) for bundle in current.bundles)
    return Target(
        parts=tuple(_put_right(part, paths, current.files, scope.to_bundles) for part in parts),
        away={d.path: _NOTES[d.verdict] for d in chosen if d.verdict in _NOTES and d.path not in current.files},
        actions=_actions(tools, chosen),
        verify=scope.verify,
    )


_NOTES = {
    Verdict.FOREIGN: "of nobody; history has it",
    Verdict.MASKED: "it masks a unit",
}
"""What goes, and why."""


def _put_right(part: Part, paths: Collection[str], records: Mapping[str, FileRecord], to_bundles: bool) -> Part:
    """The part, with what lay at these paths after the last change, or with the bundle's own version."""
    wanted = []
    for item in part.wanted:
        if item.path in paths and item.path in records:
            record = records[item.path]
            found = record.found if record.found is not None and record.found.kind is not Kind.OTHER else None
            edit = None if to_bundles else found or record.put
            base = record.base if edit is not None else None
            item = msgspec.structs.replace(item, decided=Decided.TAKE, edit=edit, edit_of=base)
        wanted.append(item)
    return msgspec.structs.replace(part, wanted=tuple(wanted))


def _is_lost(record: FileRecord | None, at_hand: Supply) -> bool:
    """Whether what lay there was an edit that is nowhere any more: of those nobody else has a copy."""
    edit = (record.found or record.put) if record is not None else None
    return edit is not None and bool(edit.digest) and bool(at_hand.missing([edit.digest]))


def _actions(tools: Tools, chosen: Sequence[Drift]) -> tuple[UnitAction, ...]:
    """What the files alone do not bring about: units that may run again, and those that run by older files."""
    if tools.systemd is None:
        return ()
    idle = {d.unit: d.verdict for d in chosen if d.verdict in (Verdict.DISABLED, Verdict.MASKED)}
    states = tools.systemd.states(sorted(idle))
    starts = [
        UnitAction(verb=UnitVerb.START, unit=unit, reason=f"it was {verdict}")
        for unit, verdict in sorted(idle.items())
        if not states[unit].running
    ]
    return (*starts, *restarting(chosen))
