# SPDX-License-Identifier: Apache-2.0
"""How the host reacts to a plan's files: PID 1, /proc and unit files are asked, and the rules decide."""

import contextlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ashore.acts.plan.desire import Part
from ashore.acts.tools import Tools
from ashore.mechanisms.host.unitfiles import pulled_in, read_unit_files
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.files import FileSet, Kind, Seen, parent
from ashore.nouns.generation import Generation
from ashore.nouns.ports import Identity
from ashore.nouns.units import HostUnits, UnitAction, UnitState, UnitVerb
from ashore.rules.bundles.bundle import is_unit_file
from ashore.rules.files.plan import FilePlan
from ashore.rules.units import dependants
from ashore.rules.units.changes import Changes, changes_of
from ashore.rules.units.conflicts import Conflicts
from ashore.rules.units.disabled import without
from ashore.rules.units.enablement import drop_in_folders, template_of, unit_of
from ashore.rules.units.reasons import Reaction
from ashore.rules.units.restarts import concerned, plan_units, reasons_of
from ashore.rules.units.situation import Situation, UnitPlan, UnitSet

_HAS_FILES = (".service", ".socket", ".mount", ".swap")
"""Units of these types name files that they run, read or mount."""


class React(msgspec.Struct, frozen=True, kw_only=True):
    """What the questions are about."""

    tools: Tools
    current: Generation
    parts: Sequence[Part]
    desired: FileSet
    files: FilePlan
    supply: Supply
    unmasked: frozenset[str] = frozenset()
    """Units whose masks go with this plan."""

    def units(self, seen: Mapping[str, Seen]) -> UnitPlan:
        """What to stop, start, restart and reload; nothing on an offline root."""
        if self.tools.systemd is None:
            return UnitPlan(started=self.current.started, gave_way=self.current.gave_way)
        changes = changes_of(self.files.steps)
        situation = Situation(
            changes=changes,
            old=self._old(),
            new=self._new(),
            reactions=self._reactions(changes),
            disabled=self._disabled(),
            host=self._host(changes, seen) if changes.all else HostUnits(),
        )
        reasons = reasons_of(situation)
        states = self._states(concerned(situation, reasons))
        conflicts = Conflicts(situation=situation, reasons=reasons, gave_way=self.current.gave_way)
        planned = plan_units(situation, reasons, states)
        while missing := {*_unknown(planned, states), *conflicts.unknown(planned, states)}:
            states |= self._states(sorted(missing))
            planned = plan_units(situation, reasons, states)
        planned = conflicts.settled(planned, states)
        return self._with_waiting(planned) if self.tools.booting and self.files.steps else planned

    def _states(self, units: Sequence[str]) -> dict[str, UnitState]:
        assert self.tools.systemd is not None
        states = dict(self.tools.systemd.states(units))
        freed = self.unmasked & states.keys()
        return states | {unit: msgspec.structs.replace(states[unit], load="loaded") for unit in freed}

    def _old(self) -> UnitSet:
        return UnitSet(
            texts={path: "" for path in self.current.files if unit_of(path)},
            wanted=self.current.enabled,
            started=self.current.started,
        )

    def _new(self) -> UnitSet:
        texts = {path: text for part in self.parts for path, text in part.texts.items()}
        texts |= self._recorded_texts(texts)
        texts |= self._edited_texts(texts)
        return UnitSet(texts=texts, wanted=tuple(unit for part in self.parts for unit in part.record.enabled))

    def _reactions(self, changes: Changes) -> dict[str, Reaction]:
        current = self.current.files
        found = {p: Reaction(reload=r.reload, restart=r.restart) for p, r in current.items() if p not in self.desired}
        found |= {path: Reaction(reload=w.reload, restart=w.restart) for path, w in self.desired.items()}
        changed = changes.all | changes.folders
        return {path: r for path, r in found.items() if (r.reload or r.restart) and path in changed}

    def _host(self, changes: Changes, seen: Mapping[str, Seen]) -> HostUnits:
        """What runs on the host, by which files, and what of the old ones is in memory."""
        assert self.tools.systemd is not None
        listed = self.tools.systemd.listed()
        # Of those that bundles ship, all: the host may have a file of its own below.
        ours = {unit_of(path) for path in self.current.files}
        reading = [u for u in listed if u.endswith(_HAS_FILES) or not ours.isdisjoint((u, template_of(u) or u))]
        files = {name for unit in reading for name in (unit, template_of(unit)) if name}
        folders = {folder for unit in reading for folder in drop_in_folders(unit)}
        texts = read_unit_files(self.tools.host, files, folders, self.tools.limits.template)
        free = {*(path.rpartition("/")[2] for path in changes.unmasks), *self.current.started}
        pulled = pulled_in(self.tools.host, free, changes.removed)
        mapped = self._mapped(changes, seen)
        return HostUnits(listed=listed, texts=texts, mapped=mapped, links=self._links(), pulled=pulled)

    def _links(self) -> Mapping[str, str]:
        """Symlinks by which units may name what lies elsewhere."""
        host = self.tools.host
        links = {
            path: wanted.entry.target for path, wanted in self.desired.items() if wanted.entry.kind is Kind.SYMLINK
        }
        found = {
            path: posixpath.normpath(posixpath.join("/", parent(path), to)).lstrip("/") for path, to in links.items()
        }
        for folder in ("", "usr/"):
            for name in host.listdir(folder) if host.lstat(folder) is not None else ():
                with contextlib.suppress(OSError):  # a link that is not to be followed leads nowhere
                    there = host.physical_folder(f"{folder}{name}")
                    if there != f"{folder}{name}":
                        found[f"{folder}{name}"] = there
        return found

    def _mapped(self, changes: Changes, seen: Mapping[str, Seen]) -> Mapping[str, tuple[str, ...]]:
        """By unit, the files that go or are replaced and that it has in memory. Nobody maps what is configuration."""
        files: dict[Identity, str] = {}
        for path in changes.replaced | changes.removed:
            there = seen.get(path)
            if there is not None and there.entry.kind is Kind.FILE and not path.startswith("etc/"):
                files[(there.stat.device, there.stat.inode)] = path
        return self.tools.processes.mapping(files) if files and self.tools.processes is not None else {}

    def _with_waiting(self, planned: UnitPlan) -> UnitPlan:
        """At boot an enabled unit that does not run is one that waits for us: it is judged as if we had started it."""
        known = {action.unit for action in (*planned.actions, *planned.stops)}
        enabled = dict.fromkeys(unit for part in self.parts for unit in part.record.enabled)
        disabled = self._disabled()
        waiting = [unit for unit in enabled if unit not in known and unit not in disabled]
        states = self._states(waiting)
        starts = tuple(
            UnitAction(verb=UnitVerb.START, unit=unit, reason="the boot starts it")
            for unit in waiting
            if states[unit].load == "loaded" and states[unit].can_start and not states[unit].running
        )
        return msgspec.structs.replace(planned, actions=(*planned.actions, *starts))

    def _recorded_texts(self, known: Mapping[str, str]) -> dict[str, str]:
        return {
            path: self.supply.text(wanted.entry.digest, self.tools.limits.template)
            for path, wanted in self.desired.items()
            if path not in known and wanted.entry.kind is Kind.FILE and is_unit_file(path)
        }

    def _edited_texts(self, known: Iterable[str]) -> dict[str, str]:
        """Where a unit file was edited on the host: PID 1 reads what stays there, or what both were merged to."""
        texts, most = {}, self.tools.limits.template
        for path in known:
            record = self.files.records.get(path)
            lay = record.lay if record is not None else None
            if lay is None or lay.kind is not Kind.FILE or lay.digest == self.desired[path].entry.digest:
                continue
            data = self.supply.read(lay.digest, most)
            if data is None:
                with contextlib.suppress(OSError):  # gone meanwhile: the bundle's version tells what it can
                    data = self.tools.host.read_bytes(path, most)
            if data is not None:
                texts[path] = data.decode(errors="replace")
        return texts

    def _disabled(self) -> frozenset[str]:
        """Units whose enablement somebody took away on this host."""
        taken = {kept.path for kept in self.files.kept if kept.verdict == "deleted"}
        return without(((p, w.entry) for p, w in self.desired.items()), taken) if taken else frozenset()


def _unknown(planned: UnitPlan, states: Mapping[str, UnitState]) -> tuple[str, ...]:
    """Units that go down with what is planned, as far as nobody asked for them yet."""
    units = [action.unit for action in (*planned.stops, *planned.actions)]
    return (*dependants.unknown(units, states), *dependants.unknown_services(units, states))
