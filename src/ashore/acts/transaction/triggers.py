# SPDX-License-Identifier: Apache-2.0
"""Triggers are run, and taken back. All of it may be cut short and repeated: each run comes to the same."""

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence

import msgspec

from ashore.acts.tools import Tools
from ashore.acts.transaction import due
from ashore.errors import AS_BEFORE, AshoreError, Issue, TriggerFailedError, UnchangedError
from ashore.mechanisms import syscalls
from ashore.mechanisms.host import kernel
from ashore.mechanisms.host.users import read_owners
from ashore.nouns.files import shown
from ashore.nouns.generation import FileRecord
from ashore.nouns.journal import Due
from ashore.nouns.plan import Plan
from ashore.nouns.triggers import Command, Setting, Trigger, Undo, When
from ashore.rules.triggers.sysusers import newcomers, settled, stand_in

_SECONDS = 120.0
"""For each command: making the linker's cache or a store of certificates takes a few on a slow machine."""
_SYNCED = ("etc", "usr", "var")
"""Where derived files lie: they are durable before anybody says that the change is."""


def make_users(tools: Tools, plan: Plan, *, go_on: bool = False) -> Plan:
    """Run what comes before the files, and give the plan the numbers of the users that were made.

    `go_on`, here and below: what fails is said, and is no reason to stop.

    Raises:
        UnchangedError: it failed; nothing but users was made.
    """
    early = [trigger for trigger in plan.triggers if trigger.when is When.EARLY]
    for trigger in early:
        _run(tools, trigger, go_on=go_on)
    owners = read_owners(tools.host)
    ids: dict[int, int] = {}
    for trigger in early:
        made = newcomers("".join(command.stdin for command in trigger.run))
        ids |= {stand_in("user", name): owners.users[name] for name in made.users & owners.users.keys()}
        ids |= {stand_in("group", name): owners.groups[name] for name in made.groups & owners.groups.keys()}
    steps = tuple(
        msgspec.structs.replace(step, new=settled(step.new, ids)) if step.new is not None else step
        for step in plan.steps
    )
    if left := [step.path for step in steps if step.new is not None and min(step.new.uid, step.new.gid) < 0]:
        raise UnchangedError(
            "users that files belong to do not exist, and were not made",
            issues=[Issue(where=shown(path), message="its owner does not exist") for path in left],
            remedy="make them, or install systemd-sysusers; ashore plan says what of the bundle would make them",
        )
    if not ids:
        return plan
    files = {path: _settled(record, ids) for path, record in plan.files.items()}
    return msgspec.structs.replace(plan, steps=steps, files=files)


def run_after(tools: Tools, triggers: Sequence[Trigger], *, go_on: bool = False) -> None:
    """Run what comes after the files, in order, and have what it made on the disk.

    Raises:
        TriggerFailedError: one failed; `take_back_after` undoes what the others did.
    """
    after = [trigger for trigger in triggers if trigger.when is When.AFTER]
    for trigger in after:
        _run(tools, trigger, go_on=go_on)
    if any(trigger.undo is Undo.DERIVED for trigger in after):
        _sync(tools)


def take_away(tools: Tools, triggers: Sequence[Trigger]) -> None:
    """Before files go back: what triggers made goes, so that folders are empty again."""
    for trigger in reversed(triggers):
        if trigger.when is When.AFTER:
            _remove(tools, trigger.makes)


def take_back(tools: Tools, triggers: Sequence[Trigger]) -> list[Issue]:
    """After the old files are back: old values are put back, and what is derived is derived again."""
    issues: list[Issue] = []
    after = [trigger for trigger in triggers if trigger.when is When.AFTER] if tools.live else []
    for trigger in after:
        failed = kernel.put_back(tools.host, trigger.before)
        issues += [Issue(where=trigger.kind, message=why, remedy="set it by hand") for why in failed]
        issues += [issue for command in trigger.back if (issue := _again(tools, trigger, command))]
    if any(trigger.back for trigger in after):
        _sync(tools)
    return issues


def put_off_way_back(tools: Tools, triggers: Sequence[Trigger], transaction: str) -> None:
    """In another boot: that one has set its values from the old files; what is derived lies on the disk, and may be
    of the mix. It is derived again later: the end of a transaction waits for no program, least of all in early boot."""
    dues = (Due(what=t.kind, command=c, since=transaction) for t in triggers if t.when is When.AFTER for c in t.back)
    due.put_off(tools, dues)


def put_off_offline(tools: Tools, triggers: Sequence[Trigger], transaction: str) -> None:
    """What nobody does by himself on an offline root, once it is booted."""
    dues = (Due(what=t.kind, command=c, since=transaction) for t in triggers if t.when is When.DUE for c in t.run)
    due.put_off(tools, dues)


def _run(tools: Tools, trigger: Trigger, *, go_on: bool) -> None:
    tools.progress.say(f"{trigger.kind}: {trigger.reason}")
    try:
        for setting in trigger.sets:
            kernel.write(tools.host, setting)
        for command in trigger.run:
            _judged(tools, trigger, command)
    except AshoreError as error:
        if go_on:
            tools.progress.say(f"{trigger.kind} failed ({trigger.reason}): {error}")
            return
        raise TriggerFailedError(
            f"{trigger.kind} failed ({trigger.reason}){AS_BEFORE}",
            cause=str(error),
            remedy="put right what is named, or correct the file; then install it again",
        ) from error
    _remove(tools, trigger.clears)


def _again(tools: Tools, trigger: Trigger, command: Command) -> Issue | None:
    try:
        _command(tools, command)
    except AshoreError as error:
        remedy = f"put right what is named, then run: {' '.join(command.argv)}"
        return Issue(where=trigger.kind, message=str(error), remedy=remedy)
    return None


def _judged(tools: Tools, trigger: Trigger, command: Command) -> None:
    """Run it. Where it reads files of others too, it fails for what is judged alone: what others say is only told."""
    try:
        _command(tools, command)
    except AshoreError as error:
        if command.judged is None:
            raise
        # It went on after what it does not like. What it made of all files is put back: they may have the last word.
        made = kernel.read(tools.host, [setting.path for setting in trigger.before])
        if command.judged:
            _command(tools, Command((*command.argv, *command.judged), command.stdin))
        kernel.put_back(tools.host, [Setting(path, value) for path, value in made.items()])
        tools.progress.say(f"{trigger.kind}: a file of this host is in fault, and not one of this change: {error}")


def _command(tools: Tools, command: Command) -> None:
    if tools.programs is None:
        raise AshoreError(f"{command.argv[0]} cannot be run here")
    tools.programs.run(command.argv, seconds=_SECONDS, stdin=command.stdin)


def _remove(tools: Tools, paths: Iterable[str]) -> None:
    """Files and symlinks, and folders that are empty, the deepest first; what is gone already, is."""
    for path in sorted(paths, key=lambda path: (-path.count("/"), path)):
        status = tools.host.lstat(path)
        if status is None:
            continue
        directory, name = tools.host.at(path)
        # In use, read-only or not empty: then it stays, and is in nobody's way.
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=directory)
                tools.host.forget()
            else:
                os.unlink(name, dir_fd=directory)


def _sync(tools: Tools) -> None:
    done = set()
    for folder in _SYNCED:
        status = tools.host.lstat(folder)
        if status is not None and status.st_dev not in done:
            done.add(status.st_dev)
            syscalls.syncfs(tools.host.folder(folder))


def _settled(record: FileRecord, ids: dict[int, int]) -> FileRecord:
    found = settled(record.found, ids) if record.found is not None else None
    return msgspec.structs.replace(record, entry=settled(record.entry, ids), found=found)
