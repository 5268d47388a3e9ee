# SPDX-License-Identifier: Apache-2.0
"""Triggers that make files out of files: the linker's cache, module and hardware databases, stores of certificates.

Going back they run again, on the old files. Pure.
"""

from collections.abc import Iterable

from ashore.nouns.plan import Action
from ashore.nouns.triggers import Command, Trigger, Undo, When
from ashore.rules.triggers.draft import Draft
from ashore.rules.triggers.kinds import Kind, kind_of
from ashore.rules.units.unitpaths import merged_usr

MODULES_FOLDER = "usr/lib/modules/"
MODULES_MADE = tuple(
    f"modules.{name}"
    for name in (
        *("alias", "alias.bin", "builtin.alias.bin", "builtin.bin", "dep", "dep.bin", "devname", "softdep"),
        *("symbols", "symbols.bin", "weakdep"),
    )
)
HWDB_MADE = ("usr/lib/udev/hwdb.bin", "etc/udev/hwdb.bin")


def linker(draft: Draft) -> Trigger | None:
    paths = (*draft.changed(Kind.LINKER), *draft.ground.libraries)
    if not paths:
        return None
    run = [Command(())]
    makes = draft.absent(draft.ground.links)
    return draft.trigger(
        Kind.LINKER, "ldconfig", draft.reason(paths), Undo.DERIVED, offline=When.DUE, run=run, back=run, makes=makes
    )


def releases(paths: Iterable[str]) -> tuple[str, ...]:
    """The kernels that kernel modules at `paths` are for."""
    return tuple(sorted({merged_usr(path).split("/")[3] for path in paths if kind_of(path) is Kind.DEPMOD}))


def module_of(path: str) -> str:
    """``usr/lib/modules/6.1/extra/br-net.ko.xz`` -> ``br_net``, as /sys/module has it."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def depmod(draft: Draft) -> Trigger | None:
    """One run for each kernel whose folder there is."""
    paths = draft.changed(Kind.DEPMOD)
    if not paths:
        return None
    folders = {release: MODULES_FOLDER + release for release in releases(paths)}
    made = {step.path for step in draft.changes.steps if step.action is Action.MKDIR}
    removed = {step.path for step in draft.changes.steps if step.action is Action.RMDIR}
    before = [r for r, path in folders.items() if path in draft.ground.present]
    there = {*made, *(draft.ground.present - removed)}
    # What a trigger made there leaves by a step of the plan, with the last module of a bundle.
    ours = {merged_usr(path).split("/")[3] for path, kind in draft.ground.made.items() if kind == Kind.DEPMOD}
    after = [r for r, path in folders.items() if path in there and (r in draft.ground.releases or r not in ours)]
    for path in paths:
        if f"sys/module/{module_of(path)}" in draft.ground.present:
            draft.reboot.append(f"{path}, of the loaded module {module_of(path)}, {draft.changes.word(path)}")
    return draft.trigger(
        Kind.DEPMOD,
        "depmod",
        draft.reason(paths),
        Undo.DERIVED,
        offline=When.DUE,
        run=[Command((release,)) for release in after],
        back=[Command((release,)) for release in before],
        makes=draft.absent(f"{folders[release]}/{name}" for release in after for name in MODULES_MADE),
    )


def hwdb(draft: Draft) -> Trigger | None:
    """Where a database lies, that one is made again: a second one would hide it from the package manager."""
    paths = draft.changed(Kind.HWDB)
    if not paths:
        return None
    usual, own = HWDB_MADE
    where, options = (usual, ("--usr",)) if usual in draft.ground.present else (own, ())
    run = [Command(("update", *options))]
    fresh = where not in draft.ground.present
    ships = bool(draft.texts(Kind.HWDB))
    return draft.trigger(
        Kind.HWDB,
        "systemd-hwdb",
        draft.reason(paths),
        Undo.DERIVED,
        offline=When.DUE,
        # One that a trigger made goes with the last file of a bundle, by a step of the plan.
        run=run if ships or where not in draft.ground.made else [],
        back=[] if fresh else run,
        makes=[where] if fresh and ships else [],
    )


def certificates(draft: Draft) -> Trigger | None:
    """Debian, SUSE and Flatcar. The first two leave the symlink of a file that went, unless they start afresh."""
    paths = draft.changed(Kind.CERTIFICATES)
    linked = [path for path in paths if not path.startswith("etc/ssl/")]
    return _store(
        draft,
        Kind.CERTIFICATES,
        "update-ca-certificates",
        run=["--fresh"] if draft.changes.removed.intersection(linked) else [],
        back=["--fresh"] if draft.changes.created.intersection(linked) else [],
    )


def trust(draft: Draft) -> Trigger | None:
    """Fedora and Arch."""
    return _store(draft, Kind.TRUST, "update-ca-trust", run=["extract"], back=["extract"])


def _store(draft: Draft, kind: Kind, program: str, *, run: list[str], back: list[str]) -> Trigger | None:
    paths = draft.changed(kind)
    if not paths:
        return None
    return draft.trigger(
        kind,
        program,
        draft.reason(paths),
        Undo.DERIVED,
        offline=When.DUE,
        run=[Command(tuple(run))],
        back=[Command(tuple(back))],
    )
