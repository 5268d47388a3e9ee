# SPDX-License-Identifier: Apache-2.0
"""Which changes have to be confirmed from outside: as asked, as declared, or since they could lock everybody out."""

import math
import re
from collections.abc import Iterable, Mapping

import msgspec

from ashore.nouns.confirm import SECONDS, Asked, By, Confirm, Provisional
from ashore.nouns.files import shown
from ashore.nouns.generation import BundleRecord
from ashore.nouns.plan import Step
from ashore.rules.units.enablement import unit_of

_PATHS = {
    "sshd": r"etc/ssh/(?!ssh_config(\.d/|$)|moduli$).+|etc/(default/ssh|sysconfig/sshd|pam\.d/sshd|hosts\.(allow|deny))"
    r"|(root|home/[^/]+)/\.ssh/authorized_keys",
    "the network": r"etc/(network|netplan|NetworkManager|systemd/network|wpa_supplicant|dhcp)/.+"
    r"|usr/lib/(systemd/network|NetworkManager)/.+|etc/sysconfig/network(-scripts/.+)?"
    r"|etc/(dhcpcd\.conf|systemd/networkd\.conf(\.d/.+)?)",
    "the firewall": r"etc/(nftables|iptables|ufw|firewalld|shorewall)/.+|etc/nftables\.(conf|d/.+)"
    r"|etc/(default/(ufw|nftables)|sysconfig/(ip6?tables|nftables\.conf))(-config)?",
}
_UNITS = {
    "sshd": r"sshd?(@.*)?\.(service|socket)",
    "the network": r"(networking|systemd-networkd|NetworkManager|dhcpcd|(wpa_supplicant|ifup)(@.*)?)\.(service|socket)",
    "the firewall": r"(nftables|firewalld|ufw|iptables|ip6tables|netfilter-persistent|shorewall)\.service",
}


def decide(
    asked: Asked, steps: Iterable[Step], new: Mapping[str, BundleRecord], old: Mapping[str, BundleRecord]
) -> Confirm | None:
    """Whether a change of these steps has to be confirmed, and why; `new` and `old` are the bundles by name.

    Of several that have to be, the longest time counts; a login counts only if it does for each of them.
    """
    steps = [step for step in steps if asked.seconds != 0]
    touched = {step.bundle for step in steps}
    declared = {n: c for n in touched if (r := new.get(n) or old.get(n)) is not None and (c := r.confirm) is not None}
    if asked.seconds is not None:
        logins = {name for name, c in declared.items() if c.by is By.SSH_LOGIN}
        by = By.SSH_LOGIN if logins and logins == touched - {""} else By.COMMAND
        asked_for = Confirm(within=asked.seconds, by=by, reason="as asked for", bundles=tuple(sorted(touched)))
        return asked_for if steps else None
    found = [
        Confirm(within=c.within, by=c.by, reason=f"{name} asks for it", bundles=(name,))
        for name, c in sorted(declared.items())
        if c.within and asked.declared
    ]
    found += _by_paths(step for step in steps if asked.by_paths and step.bundle not in declared)
    if not found:
        return None
    by = By.SSH_LOGIN if all(c.by is By.SSH_LOGIN for c in found) else By.COMMAND
    bundles = sorted({name for c in found for name in c.bundles})
    reason = "; ".join(c.reason for c in found)
    return Confirm(within=max(c.within for c in found), by=by, reason=reason, bundles=tuple(bundles))


def with_waiting(confirm: Confirm, waiting: Provisional, left: float) -> Confirm:
    """What holds for both: a change, and one before it that has still `left` seconds and goes back with it.

    The earlier end counts, and a login only if it does for each: nobody weakens what waits by another change.
    """
    by = By.SSH_LOGIN if confirm.by is waiting.by is By.SSH_LOGIN else By.COMMAND
    whole = float(math.floor(max(0.0, left)))  # the timer would round a fraction, and come too early
    return msgspec.structs.replace(confirm, within=min(confirm.within, whole), by=by)


def _by_paths(steps: Iterable[Step]) -> list[Confirm]:
    reasons: dict[str, str] = {}
    bundles: dict[str, set[str]] = {}
    for step in steps:
        if what := concerned(step.path):
            reasons.setdefault(what, f"it changes {what} ({shown(step.path)})")
            bundles.setdefault(what, set()).add(step.bundle)
    return [Confirm(within=SECONDS, reason=r, bundles=tuple(sorted(bundles[what]))) for what, r in reasons.items()]


def concerned(path: str) -> str:
    """What of the ways into a host a path configures: ``sshd``, ``the network``, ``the firewall``; else empty."""
    unit = unit_of(path) or ""
    for what, pattern in _PATHS.items():
        if re.fullmatch(pattern, path) or re.fullmatch(_UNITS[what], unit):
            return what
    return ""
