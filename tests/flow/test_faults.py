# SPDX-License-Identifier: Apache-2.0
"""A file-changing call that fails, whichever it is, leaves the old generation, or one that recovery finishes.

The same sweep as test_kill.py, with errors of the kernel instead of a kill: the process lives on and has to
take everything back itself, with the right class of error.
"""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ashore.acts.transaction.recover import recover
from ashore.errors import ChangedError, UnchangedError
from ashore.mechanisms import syscalls
from tests.flow.machine import Machine
from tests.flow.test_kill import _CHANGING, STORIES, Story, machine

FAULTS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EPERM, errno.EDQUOT)
"""Each call gets one of them, in turn."""


class Faults:
    """The file-changing calls of this process, counted; number `at` fails, and with `lasting` all after it."""

    def __init__(self, at: int, *, lasting: bool, turn: int = 0) -> None:
        self.at, self.lasting = at, lasting
        self.number = FAULTS[(at + turn) % len(FAULTS)]
        self.count = 0
        self.hit = "none"
        self.from_then = 0
        """With `lasting`: so many calls work again before all fail."""

    def see(self, name: str, arguments: tuple[object, ...], number: int) -> None:
        """Each call, before it is made."""

    def install(self) -> None:
        real_open, counted_open = os.open, self._counted("open", os.open)

        def opened(path: str, flags: int, *args: object, **kwargs: object) -> object:
            chosen = counted_open if flags & os.O_CREAT else real_open
            return chosen(path, flags, *args, **kwargs)  # type: ignore[arg-type]

        for name in (*_CHANGING, "fsync", "fdatasync"):
            setattr(os, name, self._counted(name, getattr(os, name)))
        os.open = opened  # type: ignore[assignment]
        for name in ("_renameat2", "syncfs"):
            setattr(syscalls, name, self._counted(name, getattr(syscalls, name)))

    def _counted(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            number, self.count = self.count, self.count + 1
            self.see(name, args, number)
            if number == self.at or (self.lasting and 0 <= self.at < number - self.from_then):
                self.hit = f"{errno.errorcode[self.number]} from {name}" if self.hit == "none" else self.hit
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **kwargs)

        return call


def carry_out(story: Story, victim: Machine, at: int, *, lasting: bool, turn: int = 0) -> tuple[str, str, int]:
    """Run the story in a fork with one fault: how it ended, what was hit, and how many calls there were."""
    return forked(story, victim, Faults(at, lasting=lasting, turn=turn))


def forked(story: Story, victim: Machine, faults: Faults) -> tuple[str, str, int]:
    """As `carry_out`, with these faults."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        real_write, real_exit = os.write, os._exit
        try:
            faults.install()
            story(victim)
            ended = "done"
        except UnchangedError:
            ended = "unchanged"
        except ChangedError:
            ended = "changed"
        except BaseException as error:
            ended = f"fault {error!r}"[:200]
        real_write(writer, "\n".join((ended, faults.hit, str(faults.count))).encode())
        real_exit(0)
    os.close(writer)
    with open(reader) as answer:
        ended, hit, count = answer.read().split("\n")
    os.waitpid(child, 0)
    return ended, hit, int(count)


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))


def number_of(machine: Machine) -> int:
    return machine.tools().history.current_number() or 0


def sweep(name: str, folder: Path, *, lasting: bool) -> None:
    before, story = STORIES[name]
    template = machine(folder / "template", before)
    old, old_number = template.tree(), number_of(template)

    def fresh(number: int) -> Machine:
        shutil.copytree(template.root, folder / str(number) / "host", symlinks=True)
        return Machine(folder / str(number), template.images)

    whole = fresh(-1)
    assert carry_out(story, whole, -1, lasting=False)[0] == "done"
    new, new_number = whole.tree(), number_of(whole)
    total = carry_out(story, fresh(-2), -1, lasting=False)[2]
    assert total > 50, "the sweep sees too few calls to mean anything"
    wrong: list[str] = []
    for at in range(0, total, 3 if lasting else 1):
        victim = fresh(at)
        ended, hit, _ = carry_out(story, victim, at, lasting=lasting)
        problems = [ended] if ended.startswith("fault") else []
        if ended == "unchanged":
            problems += [f"not as before: {path}" for path in differing(victim.tree(), old)]
            problems += [f"left: {path}" for path in victim.leftovers()] if not lasting else []
        problems += after_recovery(victim, {old_number: old, new_number: new}, ended)
        wrong += [f"call {at} of {total}, {hit}, ended {ended[:9]}: {problem}" for problem in problems]
        shutil.rmtree(victim.folder)
    assert not wrong, "\n".join(wrong)


def after_recovery(victim: Machine, trees: Mapping[int, Mapping[str, object]], ended: str) -> list[str]:
    """What is wrong once the fault is gone and recovery ran."""
    tools = victim.tools()
    try:
        with tools.state.locked():
            recover(tools)
    except Exception as error:
        return [f"recovery fails: {error!r}"]
    number = number_of(victim)
    if number not in trees:
        return [f"after recovery it is generation {number}"]
    problems = [f"after recovery to {number} not as it should be: {p}" for p in differing(victim.tree(), trees[number])]
    if ended == "done" and number != max(trees):
        problems.append("it was said to be done")
    return problems + [f"left by recovery: {path}" for path in victim.leftovers()]


@pytest.mark.parametrize("name", STORIES)
def test_one_call_that_fails_leaves_the_host_as_it_was_or_says_that_it_is_not(name: str, quick_folder: Path) -> None:
    sweep(name, quick_folder, lasting=False)


@pytest.mark.parametrize("name", STORIES)
def test_a_disk_that_fails_from_some_call_on_is_recovered_from_once_it_works(name: str, quick_folder: Path) -> None:
    sweep(name, quick_folder, lasting=True)


class Watching(Faults):
    """No fault: tells in `hit` which call makes the verdict visible. The one after the next makes it durable."""

    def see(self, name: str, arguments: tuple[object, ...], number: int) -> None:
        if name == "rename" and arguments[1] == "3-verdict.json":
            self.hit = str(number)


def test_a_verdict_that_may_not_be_durable_is_taken_back_before_anything_else_is(quick_folder: Path) -> None:
    """It lies there, its sync fails, and the way back is cut short: recovery must not take it for a verdict."""
    before, story = STORIES["upgrade"]
    template = machine(quick_folder / "template", before)
    trees: dict[int, Mapping[str, object]] = {number_of(template): template.tree()}

    def fresh(name: str) -> Machine:
        shutil.copytree(template.root, quick_folder / name / "host", symlinks=True)
        return Machine(quick_folder / name, template.images)

    whole = fresh("whole")
    _, verdict, _ = forked(story, whole, Watching(-1, lasting=False))
    trees[number_of(whole)] = whole.tree()
    for calls in range(40):
        victim, faults = fresh(str(calls)), Faults(int(verdict) + 2, lasting=True)
        faults.from_then = calls
        ended, *_ = forked(story, victim, faults)
        assert after_recovery(victim, trees, ended) == [], f"{calls} calls after the verdict's sync failed"
