# SPDX-License-Identifier: Apache-2.0
"""Units of the host that bundles only enable: what that alone started stops when nobody enables it any more. Pure."""

import fnmatch
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from ashore.nouns.files import parent
from ashore.nouns.units import PULLING, UNIT_FOLDERS, UnitAction, UnitState, UnitVerb
from ashore.rules.units import unitfile
from ashore.rules.units.changes import Changes
from ashore.rules.units.enablement import unit_of
from ashore.rules.units.reasons import left_alone

_KEEPS_A_UNIT = ("Wants", "Requires", "BindsTo", "Requisite", "Upholds", "Sockets", "Unit", "Service")
_WAYS_IN = (
    *("ssh*", "dropbear*"),
    *("NetworkManager.service", "systemd-networkd.service", "systemd-networkd.socket", "networking.service"),
    *("wicked*.service", "connman.service", "dhcpcd*.service", "iwd.service", "wpa_supplicant*.service"),
    *("wg-quick@*.service", "tailscaled.service", "openvpn*.service"),
)
"""Nobody is to be locked out by what a bundle does not want any more."""


def unlinked(changes: Changes, endings: tuple[str, ...] = PULLING) -> dict[str, frozenset[str]]:
    """By unit, those that pull it in by a symlink which goes, in folders that end so."""
    found: dict[str, set[str]] = {}
    for path in changes.removed:
        folder, _, unit = path.rpartition("/")
        above, _, name = folder.rpartition("/")
        if name.endswith(endings) and above in UNIT_FOLDERS:
            found.setdefault(unit, set()).add(name.rpartition(".")[0])
    return {unit: frozenset(others) for unit, others in found.items()}


def pulled_in(state: UnitState, changes: Changes, pulled: AbstractSet[str]) -> bool:
    """Whether something of the host will still want it to run: by a symlink (`pulled`), or as PID 1 knows."""
    going = {path.rpartition("/")[2] for path in changes.removed if parent(path) in UNIT_FOLDERS}
    going |= unlinked(changes).get(state.name, frozenset())
    return state.name in pulled or not going.issuperset((*state.wanted_by, *state.needed_by))


def named_by(unit: str, texts: Mapping[str, str]) -> bool:
    """Whether another unit than itself pulls it in, by what these unit files say."""
    return any(
        unit in unitfile.names(unitfile.parse(text), section, key)
        for path, text in texts.items()
        if unit_of(path) != unit
        for section in ("Unit", "Service", "Socket", "Timer", "Path")
        for key in _KEEPS_A_UNIT
    )


def may_stop(unit: str) -> bool:
    """Whether it is for us to stop it, if a bundle's word started it."""
    return not left_alone(unit) and not any(fnmatch.fnmatchcase(unit, way) for way in _WAYS_IN)


def started(
    before: Iterable[str], actions: Iterable[UnitAction], enabled: AbstractSet[str], states: Mapping[str, UnitState]
) -> tuple[str, ...]:
    """The units of the host that run since bundles enable them: those of `before`, and those that start now.

    `enabled`: the units of the host that bundles enable from now on. What something pulled in already is not of these.
    """
    new = (action.unit for action in actions if action.verb is UnitVerb.START and action.unit in states)
    free = {unit for unit in new if not (states[unit].wanted_by or states[unit].needed_by)}
    return tuple(sorted(enabled & {*before, *free}))
