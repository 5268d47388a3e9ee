# SPDX-License-Identifier: Apache-2.0
"""What a killed or failed transaction left: back to exactly the old generation, or forward to the new one.

Needs no network, no image, no template: only the journal. Every part may be cut short and repeated.
"""

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from ashore.acts.tools import Tools
from ashore.acts.transaction import audit, late, steps, triggers, unconfirmed, unitsback
from ashore.acts.transaction.collect import collect
from ashore.errors import AshoreError, ChangedError, InputError, Issue, reason_of
from ashore.mechanisms import syscalls
from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.own import ownunits
from ashore.mechanisms.stage import mounts, swap
from ashore.mechanisms.stage.staging import sweep
from ashore.mechanisms.stage.sync import FEW, sync_swapped
from ashore.mechanisms.state import journal
from ashore.mechanisms.state.content import hash_file
from ashore.nouns.digest import Digest
from ashore.nouns.files import Kind
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Edit, Journal, Recovered, Staged, StagedStep
from ashore.nouns.plan import Action
from ashore.rules.files import retention
from ashore.rules.provision.hostunits import RECOVER_PATH

_ALL = 1 << 31

T = TypeVar("T")


def recover(tools: Tools) -> Recovered:
    """Finish or undo an unfinished transaction. The lock is held.

    Raises:
        ChangedError: something stands in the way; what, is in `issues`. The journal stays for the next try.
    """
    if tools.state.fd is not None:
        tools.state.tidy()
    if not journal.exists(tools.state):
        unconfirmed.see_to(tools)
        return Recovered.NOTHING
    try:
        judged = journal.swept(tools.state)
        if not journal.exists(tools.state):  # All was done but the last sweep.
            return Recovered.FORWARD if judged else Recovered.NOTHING
        left = journal.read(tools.state)
        if left is not None and left.verdict is not None:
            with_room(tools, functools.partial(finish, tools, left))
            return Recovered.FORWARD
        issues = with_room(tools, functools.partial(go_back, tools, left))
        if left is not None and not journal.exists(tools.state):
            audit.tell_of_failure(tools, left.begun, "it was interrupted, and went back", issues)
    except OSError as error:
        issues = [Issue(where="", message=reason_of(error))]
    if issues:
        raise ChangedError(
            "an interrupted transaction cannot be undone completely",
            remedy=what_to_do(tools),
            issues=issues,
        )
    return Recovered.BACK


def what_to_do(tools: Tools) -> str:
    """About what did not come back: the next try has a journal, or there is none."""
    with contextlib.suppress(OSError, AshoreError):  # where the disk does not even tell that, there may be one
        if not journal.exists(tools.state):
            return "put right by hand what is listed: it is all that is left, and nothing waits for ashore recover"
    return "put right what is listed, then run: ashore recover"


def with_room(tools: Tools, end: Callable[[], T]) -> T:
    """End a transaction; where the disk is full, with what its journal set aside for that."""
    try:
        return end()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not journal.release(tools.state):
            raise
    return end()


def go_back(tools: Tools, left: Journal | None) -> list[Issue]:
    """Undo what was done of a transaction without a verdict, units included.

    Raises:
        ChangedError: a mount that it had touched is absent; nothing was done.
    """
    ownunits.tidy(tools.host, RECOVER_PATH)
    if left is None:
        journal.drop(tools.state)
        return []
    mounts.refuse_absent(tools.host, left.begun.areas)
    staged = left.staged
    if staged is not None:
        unitsback.stop_new(tools, left)
        if issues := _covered(tools, left, staged):  # by now by nothing that a unit of the change itself had mounted
            return issues
        triggers.take_away(tools, staged.triggers)
        issues = _undo(tools, left, staged)
        if issues:
            return issues
    for area in left.begun.areas:
        sweep(tools.host, area, tools.content)
    _drop_unborn(tools, left.begun.after)
    issues = []
    if staged is not None:
        same_boot = left.begun.boot == tools.boot
        if same_boot:
            issues += triggers.take_back(tools, staged.triggers)
        else:
            triggers.put_off_way_back(tools, staged.triggers, left.begun.transaction)
        issues += unitsback.restore(tools, left)
        late.note_again(tools, staged.units)
        issues += steps.undo(tools, left, same_boot=same_boot)
    unconfirmed.see_to(tools)
    # Contents that were stored for what did not happen; the generations stay as they are.
    _end(tools, keep=_ALL)
    return issues


def finish(tools: Tools, left: Journal) -> None:
    """Carry a judged transaction to its end: keep what may be wanted again, point, tell, sweep.

    Raises:
        ChangedError: a mount that it had touched is absent, and nothing was done; or a record is damaged.
    """
    assert left.verdict is not None
    mounts.refuse_absent(tools.host, left.begun.areas)
    generation = tools.history.read(left.verdict.generation)
    if left.staged is not None:
        _keep_displaced(tools, left, left.staged, generation)
        triggers.put_off_offline(tools, left.staged.triggers, left.begun.transaction)
    if left.verdict.held != tools.history.held():
        tools.history.hold(left.verdict.held)
    if left.verdict.provisional != tools.history.provisional():
        tools.history.await_confirmation(left.verdict.provisional)
    tools.history.point(generation.number)
    audit.tell_of_generation(tools, generation)
    for area in left.begun.areas:
        sweep(tools.host, area, tools.content)
    unconfirmed.see_to(tools)
    late.see_to(tools)
    _end(tools, _generations_to_keep(tools))


def _end(tools: Tools, keep: int) -> None:
    """Collect, then close: a collection that is cut short is done again by the next recovery."""
    try:
        collect(tools, keep)
    except ChangedError:
        journal.drop(tools.state)  # A damaged record has its own remedy; this transaction is over.
        raise
    journal.drop(tools.state)


def _generations_to_keep(tools: Tools) -> int:
    """As the host's configuration says; all, where that became wrong meanwhile: the end must not fail on it."""
    try:
        return read_config(tools.host).keep
    except InputError:
        return _ALL


def _undo(tools: Tools, left: Journal, staged: Staged) -> list[Issue]:
    with _opened_areas(tools, left) as areas:
        found = [swap.undo(tools.host, areas, step) for step in reversed(staged.steps)]
        sync_swapped(tools.host, [a for a in areas if a is not None], [s.step for s in staged.steps])
        return [issue for issue in found if issue is not None]


def _covered(tools: Tools, left: Journal, staged: Staged) -> list[Issue]:
    with _opened_areas(tools, left) as areas:
        return mounts.covered(tools.host, areas, staged.steps)


@contextlib.contextmanager
def _opened_areas(tools: Tools, left: Journal) -> Iterator[list[int | None]]:
    areas = [_open_area(tools, area.path) for area in left.begun.areas]
    try:
        yield areas
    finally:
        for area in areas:
            if area is not None:
                os.close(area)


def _open_area(tools: Tools, path: str) -> int | None:
    try:
        return tools.host.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None


def _drop_unborn(tools: Tools, after: int) -> None:
    """A generation that was written and never judged did not happen. The journal says which: it outlives `current`."""
    for number in tools.history.numbers():
        if number > after:
            tools.history.drop(number)


def _keep_displaced(tools: Tools, left: Journal, staged: Staged, generation: Generation) -> None:
    """Move into the store what a kept generation needs of the displaced files, and what nobody has a record of.

    They are hashed now: until the swap, somebody may have held them open and written.
    """
    generations = [g for g in tools.history.all() if g.number <= generation.number]
    needed = retention.needed(generations, generation, tools.history.edits(), tools.history.discarded())
    displaced = [s for s in staged.steps if s.name and s.step.action in (Action.REPLACE, Action.REMOVE)]
    with _opened_areas(tools, left) as areas:
        # What an interrupted try has moved already may not be synced, and only all of it together is known to be.
        batch = len(displaced) > FEW or not all(_lies(areas[s.area], s.name) for s in displaced)
        if batch:
            for area in areas:
                if area is not None:
                    syscalls.syncfs(area)
        taken: list[Digest] = []
        for step in displaced:
            area = areas[step.area]
            if area is not None:
                kept = _keep_one(tools, area, step, needed, generation.number, sync=not batch)
                taken += [kept] if kept else []
        if batch:
            tools.content.sync()
        elif taken:
            tools.content.sync_names(taken)


def _lies(area: int | None, name: str) -> bool:
    try:
        return area is not None and bool(os.stat(name, dir_fd=area, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _keep_one(
    tools: Tools, area: int, step: StagedStep, needed: set[Digest], generation: int, *, sync: bool
) -> Digest | None:
    """What was moved into the store; that its name there is durable is left to the caller."""
    old = step.step.old
    if old is None or old.kind is not Kind.FILE:
        return None
    try:
        descriptor = _open_displaced(area, step.name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None  # It was kept before a crash, or is no file.
        raise
    with closing(descriptor):
        if sync:
            os.fsync(descriptor)  # Who wrote it last may not have: in the store a name promises its content.
        digest, size = hash_file(descriptor)
        if digest != old.digest:
            entry = msgspec.structs.replace(old, digest=digest, size=size)
            edit = Edit(path=step.step.path, digest=digest, generation=generation, entry=entry)
            tools.history.keep_edits((*tools.history.edits(), edit))
        if digest not in needed and digest == old.digest:
            return None
        if tools.content.take(digest, area, step.name, sync=False):
            return digest
        tools.content.put(digest, descriptor, sync=sync)
        return None


def _open_displaced(area: int, name: str) -> int:
    flags = READ_FILE | os.O_NONBLOCK
    try:
        return os.open(name, flags, dir_fd=area)
    except PermissionError:
        # Without root not even its owner reads one of mode 0200. It is no file of the host any more.
        with closing(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=area)) as there:
            os.chmod(f"/proc/self/fd/{there}", 0o600)
        return os.open(name, flags, dir_fd=area)
