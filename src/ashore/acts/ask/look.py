# SPDX-License-Identifier: Apache-2.0
"""Every question about a host has an answer: status, history, diff, owns. Nothing is changed by asking."""

from collections.abc import Mapping, Sequence

import msgspec

from ashore.acts import following
from ashore.acts.ask.drifting import drift_beside
from ashore.acts.tools import Tools
from ashore.acts.transaction.late import watched_now
from ashore.errors import Issue, UsageError
from ashore.mechanisms.host.users import read_owners
from ashore.mechanisms.pid1 import rebootneeded, stuck
from ashore.mechanisms.stage.supply import Supply
from ashore.mechanisms.state import journal
from ashore.nouns.confirm import Provisional
from ashore.nouns.files import Kind, shown
from ashore.nouns.follow import Paused
from ashore.nouns.generation import FileRecord, Generation
from ashore.nouns.journal import Held
from ashore.nouns.late import Late
from ashore.nouns.owners import Owners
from ashore.nouns.units import UnitState
from ashore.rules.files.drift import Drift, Verdict
from ashore.rules.units.enablement import is_template, unit_of


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed, and whether it still is so."""

    generation: Generation
    drift: tuple[Drift, ...]
    pending: tuple[str, ...]
    units: Mapping[str, UnitState]
    held: Mapping[str, Held]
    interrupted: bool
    """A transaction was cut short; the next change, or `ashore recover`, deals with it."""
    at_work: str
    """What another ashore is about, by its verb."""
    due: tuple[str, ...]
    """Commands that the next change on the booted host runs, or `ashore recover`."""
    follows: bool
    """A timer follows tags."""
    paused: Paused | None
    """Nobody follows now."""
    waiting: Provisional | None
    """What waits for confirmation."""
    late: Late | None
    """What is watched on, and takes the generation back if it fails."""
    stuck: str
    """Why it did not go back by itself though that was time; empty if it was not."""
    reboot: tuple[str, ...]
    """Why the host has to be booted before all that was changed is in effect."""
    disk: int
    """Bytes in ashore's content store."""

    @property
    def to_look_at(self) -> bool:
        """Whether something waits for somebody, or is not as the last change left it."""
        return bool(
            any(not item.known for item in self.drift)
            or self.pending
            or self.held
            or self.interrupted
            or self.due
            or self.waiting
            or self.stuck
            or self.reboot
            or any(unit.active == "failed" for unit in self.units.values())
        )


def status(tools: Tools, *, verify: bool = False) -> Status:
    """The host at a glance; content is read only where a stat changed, or with `verify`."""
    found = drift_beside(tools, verify=verify)
    generation = found.generation
    follows, remembered = following.state(tools)
    return Status(
        generation=generation,
        drift=found.drift,
        pending=tuple(sorted(path for path, record in generation.files.items() if record.pending)),
        units=_units(tools, generation),
        held=tools.history.held(),
        interrupted=journal.interrupted(tools.state),
        at_work=found.at_work,
        due=tuple(due.what for due in tools.history.due()),
        follows=follows,
        paused=remembered.paused,
        waiting=tools.history.provisional(),
        late=watched_now(tools),
        stuck=stuck.reason(tools.host.root, generation.transaction) if generation.transaction else "",
        reboot=rebootneeded.reasons(tools.host.root) if tools.live else (),
        disk=sum(size for _, size in tools.content.digests()),
    )


def _units(tools: Tools, generation: Generation) -> dict[str, UnitState]:
    """The enabled units, and what else of the bundles has failed."""
    others = {unit for b in generation.bundles for unit in b.units if not is_template(unit)}
    asked = sorted({*generation.enabled, *others})
    if tools.systemd is None or not asked:
        return {}
    states = tools.systemd.states(asked)
    return {unit: s for unit, s in states.items() if unit in generation.enabled or s.active == "failed"}


def diff(tools: Tools, paths: Sequence[str] = (), *, verify: bool = False) -> tuple[tuple[Drift, str], ...]:
    """Drift with the unified diff from what ashore placed to what lies there, where both can be read.

    Raises:
        UsageError: as `named`.
    """
    beside = drift_beside(tools, verify=verify)
    generation, found = beside.generation, beside.drift
    if beside.at_work:
        tools.progress.say(f"a change is at work ({beside.at_work}): what it touches is not compared")
    if paths:
        found = named(tools, generation, found, paths)
    supply = Supply([tools.content.open])
    return tuple((item, _difference(tools, item, generation.files.get(item.path), supply)) for item in found)


def named(tools: Tools, generation: Generation, found: Sequence[Drift], names: Sequence[str]) -> tuple[Drift, ...]:
    """What of it concerns these paths, with all below them, or these units and their files.

    Raises:
        UsageError: no bundle has what a name says, and nothing there differs.
    """
    places = {name: tools.host.physical(name.strip("/")) for name in names}

    def concerns(name: str, path: str, unit: str = "") -> bool:
        place = places[name]
        return not place or path == place or path.startswith(f"{place}/") or name in (unit, unit_of(path))

    units = {unit for bundle in generation.bundles for unit in (*bundle.units, *bundle.enabled)}
    unknown = [
        Issue(where=name, message="no bundle has it")
        for name in names
        if name not in units
        and not any(concerns(name, path) for path in generation.files)
        and not any(concerns(name, d.path, d.unit) for d in found)
    ]
    if unknown:
        raise UsageError(
            "not a path or unit of a bundle", remedy="name an absolute path, or app.service", issues=unknown
        )
    return tuple(d for d in found if any(concerns(name, d.path, d.unit) for name in names))


def _difference(tools: Tools, item: Drift, record: FileRecord | None, supply: Supply) -> str:
    if record is None or item.verdict not in (Verdict.EDITED, Verdict.DELETED):
        return ""
    placed = record.placed
    if placed.kind is not Kind.FILE or placed.size > tools.limits.template:
        return ""
    before = supply.read(placed.digest, tools.limits.template)
    if before is None:
        return ""
    try:
        after = tools.host.read_bytes(item.path, tools.limits.template)
    except FileNotFoundError:
        after = None
    except OSError:
        return ""
    from ashore.rules.files.diffs import unified

    label = shown(item.path)
    return unified(before, after, old_label=label, new_label=label, secret=record.secret)


def owners_of(tools: Tools) -> Owners:
    """The host's names for its users and groups.

    Raises:
        InputError: the files that have them cannot be read.
    """
    return read_owners(tools.host)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a path is."""

    path: str
    bundle: str
    kind: Kind
    mode: int
    digest: str
    """Empty for a secret file: it would tell whether a guess at what it holds is right."""
    adopted: bool
    """Something lay there before ashore; it comes back on removal."""


def owns(tools: Tools, path: str) -> Owner | None:
    """Which bundle owns a path, by any of its names (``/lib/x`` for ``/usr/lib/x``)."""
    physical = tools.host.physical(path.strip("/"))
    record = tools.history.current().files.get(physical)
    if record is None:
        return None
    return Owner(
        path=physical,
        bundle=record.bundle,
        kind=record.entry.kind,
        mode=record.entry.mode,
        digest="" if record.secret else record.entry.digest,
        adopted=record.original is not None,
    )
