# SPDX-License-Identifier: Apache-2.0
"""Errors of the kernel at each file-changing call, and a disk that is full to the last byte when one recovers.

python -m tests.hostile.crash.faults [--sample N]
"""

import argparse
import contextlib
import os
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.figures.tally import Tally, tell
from tests.flow.machine import Machine
from tests.flow.test_faults import FAULTS, after_recovery, carry_out, differing
from tests.flow.test_kill import in_child
from tests.hostile.crash import mounts
from tests.hostile.crash.apart import apart
from tests.hostile.crash.hosts import SeveralMounts, several_mounts
from tests.hostile.crash.kills import Sweep
from tests.hostile.crash.subjects import RECOVERIES, STORIES, ashore, images_of_all_kinds, mend, switch_syncing_off


class Errors:
    """One act, on a host that is put back before each error."""

    def __init__(self, act: str, host: SeveralMounts) -> None:
        self._sweep = Sweep(act, host)
        (old, new), (before, after) = self._sweep.ends.trees, self._sweep.ends.numbers
        self._old, self._trees = old, {before: old, after: new}
        self._host, self._story = host, STORIES[act][1]
        host.put_back()
        self.calls = carry_out(self._story, self._machine(), -1, lasting=False)[2]

    def fail(self, at: int, turn: int, *, lasting: bool) -> list[str]:
        """What is wrong after call `at` failed with error `turn`; `lasting`: and all calls after it."""
        self._host.put_back()
        ended, hit, _ = carry_out(self._story, self._machine(), at, lasting=lasting, turn=turn)
        found = [f"{hit}: {problem}" for problem in apart(lambda: self._judge(ended, lasting))]
        return [*found, f"{hit}: {ended}"] if ended.startswith("fault") else found

    def _judge(self, ended: str, lasting: bool) -> list[str]:
        victim = self._machine()
        found = []
        if ended == "unchanged":
            changed = differing(victim.tree(), self._old)
            # A disk that takes nothing more keeps the staging folders as well, for the next run.
            changed = [path for path in changed if not (lasting and ".ashore" in path.split("/"))]
            found += [f"said to be as before, and is not: {path}" for path in changed]
            found += [f"left: {path}" for path in victim.leftovers()] if not lasting else []
        return found + after_recovery(victim, self._trees, ended)

    def _machine(self) -> Machine:
        return Machine(self._host.folder, self._sweep.images)


def full_disk(act: str, sample: int, tally: Tally, dice: random.Random) -> None:
    """Kill the act, fill the disk, recover: going back, or forward, needs no room."""
    images, story = images_of_all_kinds(), STORIES[act][1]
    with mounts.scratch() as folder:
        mounts.format_image(folder / "base.img", mounts.EXT4)
        with mounts.Mounted(folder / "base.img", folder / "host", mounts.EXT4):
            apart(lambda: ashore(act).before(folder))
            old = apart(lambda: _look(folder))
        with _again(folder):
            calls = in_child(story, Machine(folder, images), stop_at=-1)
            new = apart(lambda: _look(folder))
        for at in sorted(dice.sample(range(calls), min(calls, sample))):
            with _again(folder):
                in_child(story, Machine(folder, images), stop_at=at)
                _fill(folder / "host")
                try:
                    apart(lambda: mend(folder, images))
                    found = ""
                except RuntimeError:
                    # Before there is a journal, there is nothing to recover and no room to say so.
                    found = "not recovered; " if (folder / "host/var/lib/ashore/journal").exists() else ""
                os.unlink(folder / "host/filler")
                found += "" if apart(lambda: _look(folder)) in (old, new) else "neither old nor new"
            tally.count(not found, f"{act}, killed before call {at} of {calls}: {found}")


@contextlib.contextmanager
def _again(folder: Path) -> Iterator[None]:
    mounts.copy_sparse(folder / "base.img", folder / "try.img")
    with mounts.Mounted(folder / "try.img", folder / "host", mounts.EXT4):
        yield


def _look(folder: Path) -> tuple[object, ...]:
    machine = Machine(folder)
    return machine.tree(), machine.tools().history.current_number() or 0, machine.leftovers()


def _fill(folder: Path) -> None:
    descriptor = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
    for size in (mounts.MIB, 4096, 512):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, b"x" * size)
    os.close(descriptor)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="at most so many calls of each act; else all")
    parser.add_argument("--full", type=int, default=40, help="so many kills of each act with the disk filled then")
    parser.add_argument("--act", action="append", choices=STORIES, help="all if not given")
    given = parser.parse_args(arguments)
    mounts.go_private()
    switch_syncing_off()  # what a kill leaves, or an error, is in the page cache all the same
    dice = random.Random(1)
    acts = given.act or [act for act in STORIES if act not in ("prune", "upgrade of many", *RECOVERIES)]
    once = Tally("one call fails (ENOSPC, EIO, EROFS, EPERM, EDQUOT)")
    lasting = Tally("a call and all after it fail")
    full = Tally("killed, and the disk filled before recovery")
    with several_mounts() as host:
        for act in acts:
            errors = Errors(act, host)
            every = range(errors.calls)
            for at in sorted(dice.sample(every, given.sample)) if 0 < given.sample < len(every) else every:
                # A sample takes the errors in turn, all calls take all of them.
                for turn in (at % len(FAULTS),) if given.sample else range(len(FAULTS)):
                    found = errors.fail(at, turn, lasting=False)
                    once.count(not found, f"{act}, call {at} of {len(every)}: {'; '.join(found[:5])}")
                found = errors.fail(at, at % len(FAULTS), lasting=True)
                lasting.count(not found, f"{act}, call {at} of {len(every)}: {'; '.join(found[:5])}")
    for act in acts:
        full_disk(act, given.full, full, dice)
    return tell([once, lasting, full])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
