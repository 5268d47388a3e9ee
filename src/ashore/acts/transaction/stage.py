# SPDX-License-Identifier: Apache-2.0
"""Everything a plan will place is made beside its target first, with its final owner, mode and attributes."""

import os
from collections.abc import Iterator

import msgspec

from ashore.acts.plan.label import check_labels, label_of
from ashore.acts.tools import Tools
from ashore.errors import Issue, UnchangedError
from ashore.mechanisms import syscalls
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.mechanisms.selinux import set_label
from ashore.mechanisms.stage.loose import Loose
from ashore.mechanisms.stage.room import lacking, unwritable
from ashore.mechanisms.stage.staging import Staging
from ashore.mechanisms.stage.supply import Supply, place
from ashore.mechanisms.stage.swap import dress_folder, make_folder, place_link
from ashore.mechanisms.stage.sync import FEW, sync_staged
from ashore.mechanisms.state.content import ContentStore
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, OnEdit, parent, shown
from ashore.nouns.generation import FileRecord
from ashore.nouns.journal import Staged, StagedStep
from ashore.nouns.plan import Action, Plan, Step
from ashore.rules.files.filecontexts import FileContexts
from ashore.rules.files.threeway import is_base

_RECORDS = 256 << 10
_BLOCK = 4096
"""For a folder of the content store."""
_CANNOT = "the host cannot take the change; nothing was changed"


def stage(
    staging: Staging, store: ContentStore, supply: Supply, plan: Plan, labels: FileContexts | None = None
) -> Staged:
    """Stage every step, and sync it. Nothing on the host has changed when this returns.

    Raises:
        OSError, UnchangedError: something could not be made; sweeping the staging folders undoes it.
    """
    steps = tuple(_stage_steps(staging, store, supply, plan, labels))
    try:
        _store_versions(staging, store, supply, plan)
        _store_bases(staging, store, plan, steps)
    except OSError as error:
        raise unwritable(staging, error, "what ashore keeps", [0]) from error
    staging.new.clear((loose.area, loose.name) for loose in staging.loose.take_carried())
    _settle(staging, steps)
    _sync(staging, steps)
    return Staged(steps=steps, stops=plan.stops, actions=plan.actions, daemon_reload=plan.daemon_reload)


def _sync(staging: Staging, steps: tuple[StagedStep, ...]) -> None:
    areas = range(len(staging.areas))
    files = [(s.area, s.name) for s in steps if s.name and s.step.new and s.step.new.kind is not Kind.SYMLINK]
    try:
        staging.end_sync()
        sync_staged([staging.fd(index) for index in areas], files)
    except OSError as error:
        raise unwritable(staging, error, "what was staged", areas) from error


def _settle(staging: Staging, steps: tuple[StagedStep, ...]) -> None:
    """New folders are done, but for what the swap moves there; other names of a file may still be moved."""
    moved = {parent(s.step.path) for s in steps if not s.carried}
    for s in steps:
        new, path = s.step.new, s.step.path
        if s.carried and new is not None and not new.link and path not in moved and path not in staging.settled:
            staging.settle(path, s.area, s.name)


def room_to_end(staging: Staging, store: ContentStore, staged: Staged) -> int:
    """The most bytes that ending a transaction writes beside the state: records, and displaced files to keep."""
    need = _RECORDS
    for s in staged.steps:
        old = s.step.old
        if s.name and old is not None and old.kind is Kind.FILE and not store.has(old.digest):
            need += _BLOCK if staging.is_own(s.area) else _BLOCK + old.size
    return need


def _stage_steps(
    staging: Staging, store: ContentStore, supply: Supply, plan: Plan, labels: FileContexts | None
) -> Iterator[StagedStep]:
    groups: dict[tuple[int, str], Loose] = {}
    for step in plan.steps:
        try:
            staged = _stage_step(staging, store, supply, step, groups, labels)
        except OSError as error:
            raise unwritable(staging, error, shown(step.path), [staging.area_for(step.path)]) from error
        yield staged


def _stage_step(
    staging: Staging,
    store: ContentStore,
    supply: Supply,
    step: Step,
    groups: dict[tuple[int, str], Loose],
    labels: FileContexts | None,
) -> StagedStep:
    label = label_of(labels, step)
    if step.action is Action.MKDIR and step.new is not None:
        return _stage_folder(staging, step, step.new, label)
    if step.action in (Action.RMDIR, Action.CHANGE_DIR):
        return StagedStep(step=step, area=0, name="", label=label)
    area = staging.area_for(step.path)
    if step.new is None:
        return StagedStep(step=step, area=area, name=staging.name("s"))
    if step.new.kind is Kind.SYMLINK:
        name = staging.new.beside(step.path) or staging.name("s")
        inode, stat = place_link(staging.fd(area), name, step.new), None
    else:
        placed = _stage_file(staging, store, supply, step.path, step.new, area, groups)
        name, inode, stat = placed.name, placed.inode, placed.stat
    if label:
        set_label(staging.host, staging.fd(area), name, label)
    carried = name == staging.new.beside(step.path)
    if carried and stat is not None and not label and not step.new.link:
        staging.settled[step.path] = stat
    return StagedStep(step=step, area=area, name=name, inode=inode, carried=carried)


def _stage_folder(staging: Staging, step: Step, entry: Entry, label: str) -> StagedStep:
    """A new folder that files were put into is dressed now; any other is empty, and dressed in its place.

    Each is known by its inode: one that somebody else made meanwhile is not ours to take away.
    """
    there = staging.new.folder(step.path)
    if there is None:
        area, name = staging.area_for(step.path), staging.name("d")
        return StagedStep(step=step, area=area, name=name, inode=make_folder(staging.fd(area), name), label=label)
    area, name = there
    inode = None if label else staging.new_folder(area, name, entry)
    if inode is None:
        inode = dress_folder(staging.host, staging.fd(area), name, entry, label)
    carried = staging.new.carries(step.path)
    return StagedStep(step=step, area=area, name=name, inode=inode, carried=carried, label=label)


def _stage_file(
    staging: Staging,
    store: ContentStore,
    supply: Supply,
    path: str,
    entry: Entry,
    area: int,
    groups: dict[tuple[int, str], Loose],
) -> Loose:
    first = groups.get((area, entry.link)) if entry.link else None
    if first is not None:
        folder, name = staging.fd(area), staging.name("s")
        os.link(first.name, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        return msgspec.structs.replace(first, name=name)
    placed = place(staging, store, supply, entry, area, path)
    if entry.link:
        groups[(area, entry.link)] = placed
    return placed


def _store_versions(staging: Staging, store: ContentStore, supply: Supply, plan: Plan) -> None:
    """Versions of a bundle that are not laid on the host (one waits for a decision, an edit lies over another), and
    what bundles are rendered again from.
    """
    for bundle in plan.bundles:
        if bundle.source and not store.has(bundle.source):
            _take_in(store, bundle.source, supply.open(bundle.source))
    for _, record in versions_beside(store, plan):
        digest, base = record.entry.digest, record.base
        if base is not None and base.kind is Kind.FILE and not store.has(base.digest):
            # What a package placed is the base of the first merge with an edit of it: nobody but us keeps it for that.
            _take_in(store, base.digest, supply.open(base.digest))
        # It may have lain in a place that somebody edited since: who takes it fetches it then. `complete` says so.
        _take_in(store, digest, supply.open(digest) or staging.open_loose(digest))


def _take_in(store: ContentStore, digest: Digest, source: int | None) -> None:
    """Store the content that is open, if it is anywhere."""
    if source is not None:
        with closing(source):
            store.put(digest, source)


def versions_beside(store: ContentStore, plan: Plan) -> list[tuple[str, FileRecord]]:
    """The files of which a version is stored that is not laid on the host."""
    found = []
    for path, record in plan.files.items():
        if record.base is record.put is record.found is None:
            continue  # nearly all
        entry, edit = record.entry, record.put or record.found
        under = edit is not None and is_base(path, entry, record.on_edit)
        if (record.pending or under) and entry.kind is Kind.FILE and not store.has(entry.digest):
            found.append((path, record))
    return found


def _store_bases(staging: Staging, store: ContentStore, plan: Plan, steps: tuple[StagedStep, ...]) -> None:
    """Configuration is kept twice: later edits are compared, and merged, with what was placed."""
    bases = [s for s in steps if s.inode and _is_base(plan, s)]
    batch = len(bases) > FEW
    for staged in bases:
        assert staged.step.new is not None
        with closing(os.open(staged.name, READ_FILE, dir_fd=staging.fd(staged.area))) as descriptor:
            store.put(staged.step.new.digest, descriptor, sync=not batch)
    if batch:
        store.sync()


def _is_base(plan: Plan, staged: StagedStep) -> bool:
    path, new = staged.step.path, staged.step.new
    record = plan.files.get(path)
    if new is None or record is None:
        return new is not None and is_base(path, new, OnEdit.KEEP)  # given back: a rollback adopts it again
    return is_base(path, new, record.on_edit) and new.digest in {entry.digest for entry in record.ours}


def check_targets(tools: Tools, staging: Staging, plan: Plan, labels: FileContexts | None = None) -> None:
    """Refuse what cannot work before anything is touched: read-only, immutable, a mount point, no label, no space.

    Raises:
        UnchangedError: all of it.
    """
    issues: list[Issue] = []
    seen: set[str] = set()
    for step in plan.steps:
        above = parent(step.path)
        folder = staging.standing(above)
        # Where its folder is still to be made, nothing lies yet.
        for path in (step.path, folder) if folder == above else (folder,):
            if path not in seen:
                seen.add(path)
                issues += _check(tools, path, is_target=path == step.path)
    issues += check_labels(tools, labels, plan)
    issues += _check_space(staging, plan)
    if issues:
        raise UnchangedError(_CANNOT, issues=issues)


def _check(tools: Tools, path: str, *, is_target: bool) -> list[Issue]:
    try:
        marks = syscalls.marks(*tools.host.at(path))
    except (FileNotFoundError, NotADirectoryError):
        if is_target:
            return []
        raise
    issues = []
    if marks.immutable:
        issues.append(Issue(where=shown(path), message="it is immutable", remedy=f"chattr -i -a {shown(path)}"))
    if is_target and marks.mount_point:
        issues.append(Issue(where=shown(path), message="something is mounted on it", remedy="unmount it"))
    if not is_target and os.fstatvfs(tools.host.folder(path)).f_flag & os.ST_RDONLY:
        issues.append(
            Issue(where=shown(path), message="it is read-only", remedy="remount it, or ship the file elsewhere")
        )
    return issues


def check_room(staging: Staging, plan: Plan) -> None:
    """Refuse what would be fetched for nothing.

    Raises:
        UnchangedError: a mount has too little room for what is not there yet.
    """
    if issues := _check_space(staging, plan):
        raise UnchangedError(_CANNOT, issues=issues)


def _check_space(staging: Staging, plan: Plan) -> list[Issue]:
    """Whether each mount has room for what is not staged yet."""
    return lacking(
        staging,
        (
            (step.path, step.new)
            for step in plan.steps
            if step.new is not None and step.new.kind is Kind.FILE and not staging.lies_ready(step.new.digest)
        ),
    )
