# SPDX-License-Identifier: Apache-2.0
"""What is known of one unit: the questions that the plan of units asks. Pure."""

from collections.abc import Iterable, Mapping

from ashore.nouns.units import UnitState
from ashore.rules.units import unitfile
from ashore.rules.units.borrowed import named_by, unlinked
from ashore.rules.units.enablement import template_of
from ashore.rules.units.reasons import Reasons, left_alone
from ashore.rules.units.situation import Situation
from ashore.rules.units.unitfile import Setting
from ashore.rules.units.unitpaths import effective, own_paths


class Known:
    """The inputs of `plan_units`, and the questions about one unit."""

    def __init__(self, situation: Situation, reasons: Reasons, states: Mapping[str, UnitState]) -> None:
        self.changes, self.old, self.new = situation.changes, situation.old, situation.new
        self.host, self.disabled, self.reactions = situation.host, situation.disabled, situation.reactions
        self.states, self.reasons, self.unlinked = states, reasons, unlinked(situation.changes)

    def needed(self, unit: str) -> bool:
        """Whether a unit of the new generation still pulls this one in."""
        return named_by(unit, self.new.texts)

    def was_enabled_by_us(self, unit: str) -> bool:
        """Whether only a link of a bundle's pulled it in, which goes: the host itself does not want it to run."""
        return unit in self.unlinked and unit in self.old.wanted and not self.needed(unit)

    def let_go(self, unit: str) -> bool:
        """Whether it is a unit of the host that bundles enabled, and none does any more."""
        return not self.ships(unit) and unit not in self.new.wanted and self.was_enabled_by_us(unit)

    def comes_back(self, unit: str) -> bool:
        """Whether it was stopped by a mask that goes, and something on the host enables it."""
        enabled = (unit in self.new.wanted and unit not in self.disabled) or unit in self.host.pulled
        return self.reasons.unmasked(unit) and not self.runs(unit) and enabled

    def is_new(self, unit: str) -> bool:
        return unit in self.new.wanted and unit not in self.old.wanted and unit not in self.disabled

    def is_foreign(self, unit: str) -> bool:
        """Whether no bundle ships or wants it."""
        wanted = unit in self.old.wanted or unit in self.new.wanted
        return not (wanted or self.ships(unit))

    def ships(self, unit: str) -> bool:
        """Whether a bundle does, or did."""
        return self.old.ships(unit) or self.new.ships(unit)

    def is_nowhere(self, unit: str) -> bool:
        """Whether neither a bundle ships it nor the host has it."""
        return not self.ships(unit) and unit in self.states and self.states[unit].load == "not-found"

    def is_spared(self, unit: str) -> bool:
        """Whether it is the host's, and not ours to restart."""
        return left_alone(unit) and not self.ships(unit)

    def refuses(self, unit: str, what: str) -> bool:
        """Whether PID 1 will refuse to ``Start`` or ``Stop`` it by hand, by the unit files that it reads then."""
        if said := unitfile.last(self.reasons.settings(unit), "Unit", f"RefuseManual{what}"):
            return unitfile.is_true(said)
        # What PID 1 has read is right as long as it reads nothing new; of the host's units not all is known here.
        stays = not (self.new.ships(unit) and self.reasons.own(unit))
        return stays and self.refuses_now(unit, what)

    def refuses_now(self, unit: str, what: str) -> bool:
        """Whether PID 1 would, as it has read the unit."""
        state = self.states.get(unit)
        if state is None or state.load != "loaded":
            return False
        return not (state.can_stop if what == "Stop" else state.can_start)

    def serves_a_connection(self, unit: str) -> bool:
        """Whether a socket with ``Accept=yes`` made it for one connection, which ends with it."""
        template = template_of(unit) or ""
        return template.endswith("@.service") and self.accepts(template.removesuffix("@.service") + ".socket")

    def accepts(self, socket: str) -> bool:
        """Whether it makes a service for each connection, or did so far."""
        read = (self.reasons.settings(socket), self.settings_before(socket))
        return any(unitfile.is_true(unitfile.last(settings, "Socket", "Accept")) for settings in read)

    def settings_before(self, unit: str) -> tuple[Setting, ...]:
        """The unit by the files of the host as they lie: of units that run or have failed."""
        texts = self.host.texts
        return unitfile.merged(texts[path] for path in effective(own_paths(unit, texts)))

    def is_the_same_but_for_options(self, unit: str) -> bool:
        """Whether a changed mount differs in nothing that a remount does not bring about."""
        before, after = self.settings_before(unit), self.reasons.settings(unit)
        changed = own_paths(unit, self.changes.replaced | self.changes.removed)
        known = all(path in self.host.texts for path in changed)
        options = {option.partition("=")[0] for option in _options(before) ^ _options(after)}
        return known and options <= _REMOUNTED and _but_for_options(before) == _but_for_options(after)

    def masked(self, unit: str) -> bool:
        if self.reasons.unmasked(unit):
            return False
        return bool(self.reasons.masked_by(unit)) or (unit in self.states and self.states[unit].load == "masked")

    def runs(self, unit: str) -> bool:
        return unit in self.states and self.states[unit].running

    def works(self, unit: str) -> bool:
        """Whether it is a service that is not done with its work: what follows the program would be done again."""
        if not unit.endswith(".service") or not self.runs(unit):
            return False
        return self.states[unit].type != "oneshot" and self.states[unit].sub != "exited"

    def has_process(self, unit: str) -> bool:
        return self.runs(unit) and self.states[unit].main_pid > 0 and self.states[unit].type != "oneshot"

    def failed(self, unit: str) -> bool:
        return unit in self.states and self.states[unit].active == "failed"

    def skipped(self, unit: str) -> bool:
        """Whether it should run, and was not started since a condition did not hold."""
        if unit not in self.new.wanted or unit in self.disabled or unit not in self.states:
            return False
        return not self.states[unit].condition and self.states[unit].active == "inactive"


_REMOUNTED = frozenset(
    {
        *("ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "lazytime"),
        *("atime", "noatime", "relatime", "norelatime", "strictatime", "diratime", "nodiratime", "nolazytime"),
        *("size", "nr_inodes", "nr_blocks", "mode", "uid", "gid", "huge", "defaults", "nofail"),
    }
)
"""Options that any file system, or a tmpfs, takes in a remount (mount(8)); others need to be mounted anew."""


def _options(settings: Iterable[Setting]) -> frozenset[str]:
    said = unitfile.last(tuple(settings), "Mount", "Options") or ""
    return frozenset(option.strip() for option in said.split(",") if option.strip())


def _but_for_options(settings: Iterable[Setting]) -> list[tuple[str, str, str]]:
    """What makes a mount another one: neither how it is mounted, nor what is said for people and for enabling it."""
    found = [(setting.section, setting.key, setting.value) for setting in settings]
    aside = (("Mount", "Options"), ("Unit", "Description"), ("Unit", "Documentation"))
    return [said for said in found if said[0] != "Install" and said[:2] not in aside]
