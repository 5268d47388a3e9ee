# SPDX-License-Identifier: Apache-2.0
"""The table: which trigger each kind of changed path sets off, in the order in which they run. Pure."""

from collections.abc import Callable, Mapping

import msgspec

from ashore.nouns.triggers import Command, Trigger, Undo, When
from ashore.rules import firmware
from ashore.rules.triggers import derived, running
from ashore.rules.triggers import tmpfiles as lines
from ashore.rules.triggers.draft import Draft
from ashore.rules.triggers.ground import Ground
from ashore.rules.triggers.kinds import Kind

PROGRAMS = (
    *("systemd-sysusers", "ldconfig", "depmod", "systemd-modules-load", "systemd-sysctl", "systemd-hwdb", "udevadm"),
    *("systemd-tmpfiles", "update-ca-certificates", "update-ca-trust"),
)


class Triggers(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a plan that triggers are, and what a record keeps of them."""

    triggers: tuple[Trigger, ...] = ()
    settings: Mapping[str, str] = {}
    made: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    reboot: tuple[str, ...] = ()


def plan_triggers(ground: Ground) -> Triggers:
    """What to run for the changes, in order, and what the record of them is."""
    draft = Draft(ground)
    triggers = tuple(trigger for kind in Kind if (trigger := _TABLE[kind](draft)) is not None)
    made = {path: kind for path, kind in ground.made.items() if path not in draft.gone}
    made |= {path: trigger.kind for trigger in triggers for path in trigger.makes}
    return Triggers(
        triggers=triggers,
        settings=draft.settings,
        made=made,
        notes=tuple(draft.notes),
        reboot=tuple(draft.reboot),
    )


def _sysusers(draft: Draft) -> Trigger | None:
    """Made before anything is staged: files may belong to them. Only this works on a root from outside."""
    ground, paths, texts = draft.ground, draft.staying(Kind.SYSUSERS), draft.texts(Kind.SYSUSERS)
    if not texts or not (paths or ground.new_users):
        return None
    root = () if ground.live else (f"--root={ground.root}",)
    return draft.trigger(
        Kind.SYSUSERS,
        "systemd-sysusers",
        draft.reason(paths) if paths else "users that files belong to are missing",
        Undo.LASTING,
        when=When.EARLY if ground.may_own else When.BOOT,
        run=[Command((*root, "-"), "".join(text.rstrip("\n") + "\n" for text in texts))],
        effects=[f"{name} is made, and stays" for name in ground.new_users],
    )


def _tmpfiles(draft: Draft) -> Trigger | None:
    """What it makes stays where something is in it: it may be data."""
    paths = [path for path in draft.changed(Kind.TMPFILES) if not firmware.is_setting(path)]
    if not paths:
        return None
    wanted = lines.made_by(draft.texts(Kind.TMPFILES))
    now = ["/" + path for path in paths if path not in draft.changes.removed]
    before = ["/" + path for path in paths if path not in draft.changes.created]
    recorded = {path for path, kind in draft.ground.made.items() if kind == Kind.TMPFILES}
    clears = sorted(recorded - {*wanted}, reverse=True)
    draft.gone |= {*clears}
    return draft.trigger(
        Kind.TMPFILES,
        "systemd-tmpfiles",
        draft.reason(paths),
        Undo.DERIVED,
        run=[Command(("--create", *now))] if now else [],
        back=[Command(("--create", *before))] if before else [],
        makes=draft.absent(wanted) if now else (),
        clears=clears,
        effects=[f"/{path} goes, if nothing is in it" for path in clears],
    )


_TABLE: Mapping[Kind, Callable[[Draft], Trigger | None]] = {
    Kind.SYSUSERS: _sysusers,
    Kind.LINKER: derived.linker,
    Kind.DEPMOD: derived.depmod,
    Kind.MODULES: running.modules,
    Kind.FIRMWARE: running.firmware,
    Kind.SYSCTL: running.sysctl,
    Kind.HWDB: derived.hwdb,
    Kind.UDEV: running.udev,
    Kind.TMPFILES: _tmpfiles,
    Kind.CERTIFICATES: derived.certificates,
    Kind.TRUST: derived.trust,
}
