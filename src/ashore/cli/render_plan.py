# SPDX-License-Identifier: Apache-2.0
"""A plan and an outcome as text and as JSON. Pure."""

from collections.abc import Iterable, Mapping

from ashore.nouns.confirm import By, Provisional
from ashore.nouns.digest import short
from ashore.nouns.duration import duration
from ashore.nouns.files import Entry, Kind, format_mode, printable, shown
from ashore.nouns.generation import BundleRecord, Generation
from ashore.nouns.plan import Action, Check, Kept, Plan, Step, When
from ashore.rules.steps import shown as shown_step

_SIGN = {
    Action.CREATE: "+",
    Action.MKDIR: "+",
    Action.REPLACE: "~",
    Action.CHANGE_DIR: "~",
    Action.REMOVE: "-",
    Action.RMDIR: "-",
}


def plan_text(plan: Plan, diffs: Mapping[str, str]) -> str:
    """A plan for people: files with their differences, units with reasons, conflicts, notes."""
    lines: list[str] = []
    if plan.conflicts:
        lines.append("Conflicts:")
        lines += [f"  ! {shown(c.path)} ({c.bundle}): {c.message}; {c.remedy}" for c in plan.conflicts]
    if plan.steps:
        lines.append("Files:")
        for step in plan.steps:
            lines.append(f"  {_SIGN[step.action]} {_step(step)}")
            lines += [f"      {line}" for line in diffs.get(step.path, "").splitlines()]
    if plan.kept:
        lines.append("Kept as they are on this host:")
        for kept in plan.kept:
            lines.append(f"  = {shown(kept.path)} ({kept.bundle}): {kept.verdict}{_waits(kept)}")
    if plan.commands:
        lines.append("Steps of bundles:")
        for planned in plan.commands:
            command = planned.step
            lines.append(f"  {command.phase} {planned.name}: {printable(shown_step(command))}")
            lines.append(f"      {printable(command.reason)}; at most {command.within:g} s")
    if plan.triggers:
        lines.append("Triggers:")
        for trigger in plan.triggers:
            lines.append(f"  {trigger.kind} {trigger.when}: {printable(trigger.reason)}  [{trigger.undo}]")
            lines += [f"      {printable(effect)}" for effect in trigger.effects]
    units = [*plan.stops, *plan.actions]
    if units or plan.daemon_reload:
        lines.append("Units:")
        lines += ["  daemon-reload"] if plan.daemon_reload else []
        lines += [f"  {a.verb} {printable(a.unit)}: {printable(a.reason)}" for a in units]
    if plan.reboot:
        lines.append("Reboot needed, when it suits:")
        lines += [f"  * {printable(reason)}" for reason in plan.reboot]
    if plan.confirm is not None and not plan.empty:
        lines.append("To be confirmed:")
        lines.append(f"  within {duration(plan.confirm.within)}, or it is taken back: {printable(plan.confirm.reason)}")
    if plan.checks:
        lines.append("Checks:")
        lines += [f"  ? {_check(check)}" for check in plan.checks]
    if plan.notes:
        lines.append("Notes:")
        lines += [f"  * {printable(note)}" for note in plan.notes]
    if plan.empty:
        lines += _records(plan)
    else:
        lines.append(_summary(plan))
    return "\n".join(lines)


def _records(plan: Plan) -> list[str]:
    """What a plan says that leaves the host as it is, and perhaps not what is recorded of it."""
    old, new = ({b.name: b for b in bundles} for bundles in (plan.before, plan.bundles))
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if not changed:
        return ["Nothing would change on this host."]
    lines = [f"  {_record(old.get(name), new.get(name))}" for name in changed]
    return ["Bundles:", *lines, "Nothing would change on this host but the record of what is installed."]


def _record(old: BundleRecord | None, new: BundleRecord | None) -> str:
    if old is None or new is None:
        return "".join(f"{sign} {_version(b)}" for sign, b in (("+", new), ("-", old)) if b is not None)
    same = old.digest == new.digest
    return f"~ {_version(new)}, " + ("from another reference, or with other input" if same else f"was {_version(old)}")


def _version(bundle: BundleRecord) -> str:
    return " ".join(word for word in (bundle.name, printable(bundle.version), short(bundle.digest)) if word)


def plan_json(plan: Plan, diffs: Mapping[str, str]) -> dict[str, object]:
    """A plan for programs (docs/reference/json.md)."""
    return {
        "changes": plan.changes,
        "steps": [
            {
                "action": step.action,
                "path": shown(step.path),
                "bundle": step.bundle,
                "old": entry_json(step.old, secret=step.secret),
                "new": entry_json(step.new, secret=step.secret),
                "note": step.note,
                "merged": step.merged,
                "diff": diffs.get(step.path, ""),
            }
            for step in plan.steps
        ],
        "kept": [
            {
                "path": shown(k.path),
                "bundle": k.bundle,
                "verdict": k.verdict,
                "pending": k.pending,
                "reason": k.reason,
            }
            for k in plan.kept
        ],
        "conflicts": [
            {"path": shown(c.path), "bundle": c.bundle, "owner": c.owner, "message": c.message, "remedy": c.remedy}
            for c in plan.conflicts
        ],
        "units": [{"verb": a.verb, "unit": a.unit, "reason": a.reason} for a in (*plan.stops, *plan.actions)],
        "daemon_reload": plan.daemon_reload,
        "checks": [
            {"command": list(c.command), "paths": [shown(p) for p in c.paths], "when": c.when} for c in plan.checks
        ],
        "commands": [
            {
                "bundle": c.bundle,
                "name": c.step.name,
                "phase": c.step.phase,
                "command": list(c.step.command),
                "reason": c.step.reason,
                "within": c.step.within,
            }
            for c in plan.commands
        ],
        "triggers": [
            {
                "kind": t.kind,
                "reason": t.reason,
                "when": t.when,
                "undo": t.undo,
                "commands": [list(command.argv) for command in t.run],
                "effects": list(t.effects),
            }
            for t in plan.triggers
        ],
        "reboot": list(plan.reboot),
        "confirm": plan.confirm
        and {"within": plan.confirm.within, "by": plan.confirm.by, "reason": plan.confirm.reason},
        "notes": list(plan.notes),
        "bundles": bundles_json(plan.bundles),
    }


def bundles_json(bundles: Iterable[BundleRecord]) -> list[dict[str, object]]:
    """What is installed, or will be."""
    return [{"name": b.name, "version": b.version, "digest": b.digest} for b in bundles]


def outcome_text(plan: Plan, generation: Generation, *, changed: bool) -> str:
    """What a story did, in a few lines."""
    notes = [f"note: {printable(note)}" for note in plan.notes]
    if not changed:
        return "\n".join(["nothing to do", *notes])
    lines = [f"generation {generation.number}: {_summary(plan, 'added', 'changed', 'removed')}"]
    lines += [f"kept {shown(kept.path)}: {kept.verdict} on this host{_waits(kept)}" for kept in plan.kept]
    lines += [f"{shown(s.path)}: {s.note}" for s in plan.steps if (s.edited or s.merged) and s.note]
    lines += [f"reboot needed: {printable(reason)}" for reason in plan.reboot]
    return "\n".join(lines + notes)


def provisional_text(waiting: Provisional) -> str:
    """What waits for confirmation, and what becomes of it."""
    back = f"generation {waiting.back} comes back" if waiting.back else "all of it goes"
    also = " or a fresh ssh login" if waiting.by is By.SSH_LOGIN else ""
    return f"provisional ({printable(waiting.reason)}): without ashore confirm{also} by {waiting.until} {back}"


def provisional_json(waiting: Provisional | None) -> dict[str, object] | None:
    """The same for programs."""
    if waiting is None:
        return None
    return {
        "back": waiting.back,
        "within": waiting.within,
        "began": waiting.began,
        "until": waiting.until,
        "by": waiting.by,
        "reason": waiting.reason,
    }


def entry_json(entry: Entry | None, *, secret: bool) -> dict[str, object] | None:
    """A path's state for programs: modes as octal text, extended attributes by name only.

    A `secret` file's digest would tell whether a guess at what it holds is right.
    """
    if entry is None:
        return None
    described: dict[str, object] = {
        "kind": entry.kind,
        "mode": format_mode(entry.mode),
        "uid": entry.uid if entry.uid >= 0 else None,
        "gid": entry.gid if entry.gid >= 0 else None,
    }
    if entry.kind is Kind.FILE and not secret:
        described |= {"size": entry.size, "digest": entry.digest}
    if entry.kind is Kind.SYMLINK:
        described["target"] = printable(entry.target)
    if entry.xattrs:
        described["xattrs"] = sorted(entry.xattrs)
    return described


def _check(check: Check) -> str:
    when = "before anything changes" if check.when is When.STAGED else "in place, before units react"
    return f"{printable(' '.join(check.command))}, {when}: {', '.join(map(shown, check.paths))}"


def _waits(kept: Kept) -> str:
    reason = f" ({kept.reason})" if kept.reason else ""
    return f"; the new version is stored as pending{reason}" if kept.pending else reason


def _step(step: Step) -> str:
    what = f"{shown(step.path)}"
    if step.new is not None and step.new.kind is Kind.SYMLINK:
        what += f" -> {printable(step.new.target)}"
    elif step.new is not None:
        what += f" {format_mode(step.new.mode)}"
        if (step.new.uid, step.new.gid) != (0, 0):
            what += f" {_id(step.new.uid)}:{_id(step.new.gid)}"
    if step.old is not None and step.new is not None and step.new.same_content(step.old):
        what += f" (was {format_mode(step.old.mode)} {step.old.uid}:{step.old.gid})"
    return what + (f"  [{printable(step.note)}]" if step.note else "")


def _id(number: int) -> str:
    """A user's or group's number; below zero stands for one that is not made yet."""
    return str(number) if number >= 0 else "new"


def _summary(plan: Plan, *words: str) -> str:
    add, change, remove = words or ("to add", "to change", "to remove")
    counts = {sign: sum(1 for s in plan.steps if _SIGN[s.action] == sign) for sign in "+~-"}
    parts = [f"{counts['+']} {add}, {counts['~']} {change}, {counts['-']} {remove}"]
    units = len(plan.stops) + len(plan.actions)
    parts += [f"{units} unit action{'s' if units != 1 else ''}"] if units else []
    return "; ".join(parts)
