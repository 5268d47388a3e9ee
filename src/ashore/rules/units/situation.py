# SPDX-License-Identifier: Apache-2.0
"""What a plan of units is made from, and the plan: the nouns of `rules.units.restarts`."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property

import msgspec

from ashore.nouns.units import UNIT_FOLDERS, HostUnits, UnitAction
from ashore.rules.units.changes import Changes
from ashore.rules.units.enablement import template_of, unit_of
from ashore.rules.units.reasons import Reaction


class UnitSet(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The units of one generation. `texts` are all unit files and drop-ins that its bundles ship, by path
    (of an old generation only the paths count); `wanted` the units that they want enabled and running."""

    texts: Mapping[str, str] = {}
    wanted: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    """Of an old generation, those of the host that run since bundles enable them."""

    def ships(self, unit: str) -> bool:
        """Whether the unit's own file, or its template's, is among them."""
        return not self._files.isdisjoint({unit, template_of(unit)})

    @cached_property
    def _files(self) -> frozenset[str]:
        """The units whose own files are among them: asked for each unit, so looked for once."""
        return frozenset(unit for path in self.texts if not is_drop_in_path(path) and (unit := unit_of(path)))


class UnitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan that concerns units. `stops` come before the swap, `actions` after it."""

    stops: tuple[UnitAction, ...] = ()
    actions: tuple[UnitAction, ...] = ()
    daemon_reload: bool = False
    reboot: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    """Units of the host that run since bundles enable them."""
    gave_way: Mapping[str, str] = {}
    """Units that are down since one of a bundle conflicts with them, each with that one."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What changes, and for whom. `reactions` are by changed path, those of removed paths from the old generation;
    `disabled` units are those whose enablement an administrator took away."""

    changes: Changes
    old: UnitSet
    new: UnitSet
    reactions: Mapping[str, Reaction] = {}
    disabled: AbstractSet[str] = frozenset()
    host: HostUnits = HostUnits()


def is_drop_in_path(path: str) -> bool:
    return path.rpartition("/")[0] not in UNIT_FOLDERS
