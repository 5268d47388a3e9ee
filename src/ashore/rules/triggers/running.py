# SPDX-License-Identifier: Apache-2.0
"""Triggers that act on what runs: the kernel's settings and modules, where it looks for firmware, udev. Pure."""

from collections.abc import Iterable

from ashore.nouns.triggers import Command, Setting, Trigger, Undo, When
from ashore.rules import firmware as redirected
from ashore.rules.triggers import sysctl as files
from ashore.rules.triggers.draft import Draft
from ashore.rules.triggers.kinds import Kind, kind_of

_SETTLE = "30"
"""Seconds that udev gets for the events of present devices."""


def modules(draft: Draft) -> Trigger | None:
    paths = draft.staying(Kind.MODULES)
    if not paths:
        return None
    lines = [line.strip() for path in paths for line in draft.ground.new.get(path, "").splitlines()]
    names = [line for line in lines if line and not line.startswith(("#", ";"))]
    effects = [f"{name} is loaded, and stays so until the next boot" for name in names]
    when = None
    if draft.ground.live and not draft.ground.loads_modules:
        when, effects = When.NEVER, ["this system loads no kernel modules: the kernel is not its own"]
    return draft.trigger(
        Kind.MODULES,
        "systemd-modules-load",
        draft.reason(paths),
        Undo.LASTING,
        when=when,
        run=[Command(tuple("/" + path for path in paths))],
        effects=effects,
    )


def firmware(draft: Draft) -> Trigger | None:
    """Nothing has to run for firmware in its place; where that is read-only, the kernel is told another."""
    if paths := draft.staying(Kind.FIRMWARE):
        said = draft.reason(paths)
        draft.notes.append(f"firmware ({said}) is read when its driver asks for it: at the latest at the next boot")
    touched = sorted(path for path in draft.changes.contents if redirected.is_setting(path))
    now = draft.ground.values.get(redirected.PARAMETER)
    if not touched or (now is None and draft.ground.live):
        return None
    wanted = redirected.folder_named_by(draft.ground.new)
    if not wanted:
        value = draft.settings.pop(redirected.PARAMETER, "")
    else:
        value = wanted
        draft.settings.setdefault(redirected.PARAMETER, now or "")
    return Trigger(
        kind=Kind.FIRMWARE,
        reason=draft.reason(touched),
        when=When.AFTER if draft.ground.live else When.BOOT,
        undo=Undo.REVERSIBLE,
        sets=(Setting(redirected.PARAMETER, value),),
        before=(Setting(redirected.PARAMETER, now or ""),),
        effects=(f"the kernel looks for firmware in {value or 'its usual folders'}",),
    )


def sysctl(draft: Draft) -> Trigger | None:
    """The host's own program applies what the changed files name, as its order of all files has it.

    It fails for any line of any file; a change is judged by its own files alone. One with a line that sets nothing got
    that from somebody's edit: a bundle with such a line is refused.
    """
    ground, paths = draft.ground, draft.changed(Kind.SYSCTL)
    if not paths:
        return None
    if not ground.live or not ground.settable:
        effects = ["the kernel's settings are read-only here"] if ground.live else []
        when = When.NEVER if ground.live else When.BOOT
        return draft.trigger(
            Kind.SYSCTL, "systemd-sysctl", draft.reason(paths), Undo.REVERSIBLE, when=when, effects=effects
        )
    old = _values(draft, (text for path, text in ground.old.items() if kind_of(path) is Kind.SYSCTL))
    wanted = _values(draft, draft.texts(Kind.SYSCTL))
    named = _values(draft, (texts[path] for texts in (ground.old, ground.new) for path in paths if path in texts))
    touched = sorted(named.keys() & ground.values.keys())
    staying = [path for path in draft.staying(Kind.SYSCTL) if path in ground.new]
    draft.notes += (
        f"{path} sets {files.shown(setting)}, which this kernel does not have now"
        for path in staying
        for setting in dict.fromkeys(files.needed(ground.new[path]))
        if setting not in ground.present
    )
    sets, effects = [], []
    for path in touched:
        now, name = files.plain(ground.values[path]), files.shown(path)
        if path in wanted:
            # What a bundle had set before anybody recorded it is no value from before ashore.
            if path not in old:
                draft.settings.setdefault(path, ground.values[path])
            effects.append(f"{name} = {wanted[path]}" + ("" if now == wanted[path] else f" (now {now})"))
            continue
        original = draft.settings.pop(path, None)
        if original is not None and now == old[path]:
            sets.append(Setting(path, original))
            effects.append(f"{name} = {files.plain(original)}, as it was before (now {now})")
        else:
            effects.append(f"{name} stays {now} until the next boot")
    # Below proc/sys: what begins with a slash is taken for another key by systemd 252.
    prefixes = tuple(f"--prefix={path.removeprefix(files.ROOT)}" for path in touched)
    judged = tuple(f"/{path}" for path in staying if not any(files.faults(ground.new[path])))
    return draft.trigger(
        Kind.SYSCTL,
        "systemd-sysctl",
        draft.reason(paths),
        Undo.REVERSIBLE,
        run=[Command(prefixes, judged=judged)] if touched else [],
        sets=sets,
        before=[Setting(path, ground.values[path]) for path in touched],
        effects=effects,
    )


def udev(draft: Draft) -> Trigger | None:
    paths = (*draft.changed(Kind.UDEV), *draft.changed(Kind.HWDB))
    if not paths:
        return None
    run = [
        Command(("control", "--reload")),
        Command(("trigger", "--action=change")),
        Command(("settle", f"--timeout={_SETTLE}")),
    ]
    runs_here = draft.ground.runs_udev or not draft.ground.live
    return draft.trigger(
        Kind.UDEV,
        "udevadm",
        draft.reason(paths),
        Undo.DERIVED,
        when=None if runs_here else When.NEVER,
        run=run,
        back=run,
        effects=["present devices get a change event"] if runs_here else ["udev does not run here"],
    )


def _values(draft: Draft, texts: Iterable[str]) -> dict[str, str]:
    return files.expanded(files.all_assignments(texts), draft.ground.globs)
