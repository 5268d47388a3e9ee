# SPDX-License-Identifier: Apache-2.0
"""Killed before each file-changing call, on a root of several mounts; and killed again while recovering.

python -m tests.hostile.crash.kills [--sample N] [--again N]
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.figures.tally import Tally, tell
from tests.flow.machine import Machine
from tests.flow.test_kill import Story, in_child
from tests.hostile.crash import mounts
from tests.hostile.crash.apart import apart
from tests.hostile.crash.hosts import SeveralMounts, several_mounts
from tests.hostile.crash.subjects import (
    RECOVERIES,
    STORIES,
    Seen,
    ashore,
    images_of_all_kinds,
    mend,
    switch_syncing_off,
    wrong,
)

_RECOVERY_CALLS = 60
"""More file-changing calls than most recoveries make."""


@dataclass(frozen=True)
class Ends:
    """What there is before and after an act: the two ends between which nothing may stay."""

    trees: tuple[Seen, Seen]
    numbers: tuple[int, int]
    calls: int


class Sweep:
    """One act, on one host that is put back before each try."""

    def __init__(self, act: str, host: SeveralMounts) -> None:
        self.act, self.host = act, host
        self.images = images_of_all_kinds()
        self.story = STORIES[act][1]
        host.clear()
        apart(lambda: ashore(act).before(host.folder))
        host.keep()
        old = apart(self._look)
        calls = in_child(self.story, self._machine(), stop_at=-1)
        new = apart(self._look)
        self.ends = Ends((old[0], new[0]), (old[1], new[1]), calls)

    def kill(self, at: int) -> list[str]:
        """What is wrong after a kill before call `at`, and a recovery."""
        self.host.put_back()
        if in_child(self.story, self._machine(), stop_at=at) != -1:
            return ["it was not killed"]
        return apart(self._judge)

    def kill_again(self, at: int, dice: random.Random) -> list[str] | None:
        """The same with up to three recoveries killed as well; None if none of them lived long enough for it."""
        self.host.put_back()
        in_child(self.story, self._machine(), stop_at=at)
        again = [in_child(_recovery(self), self._machine(), stop_at=dice.randrange(_RECOVERY_CALLS)) for _ in range(3)]
        return apart(self._judge) if -1 in again else None

    def _machine(self) -> Machine:
        return Machine(self.host.folder, self.images)

    def _look(self) -> tuple[Seen, int]:
        machine = self._machine()
        return machine.tree(), machine.tools().history.current_number() or 0

    def _judge(self) -> list[str]:
        try:
            mend(self.host.folder, self.images)
            found = wrong(self._machine())
        except Exception as error:
            return [f"not recovered: {type(error).__name__}: {error}"]
        tree, number = self._look()
        if (tree, number) in zip(self.ends.trees, self.ends.numbers, strict=True):
            return found
        nearest = self.ends.trees[number == self.ends.numbers[1]]
        differing = sorted(path for path in {*tree, *nearest} if tree.get(path) != nearest.get(path))
        return [*found, f"generation {number} of {self.ends.numbers}", *(f"differs: {path}" for path in differing)]


def _recovery(sweep: Sweep) -> Story:
    return lambda machine: mend(machine.folder, sweep.images)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sample", type=int, default=0, help="at most so many kills of each act; else before all calls"
    )
    parser.add_argument("--again", type=int, default=150, help="so many kills of each act with recovery killed as well")
    # A copied root has other inodes, by which a journal could not know its files: recoveries are killed by --again.
    acts = [act for act in STORIES if act not in RECOVERIES]
    parser.add_argument("--act", action="append", choices=acts, help="all if not given")
    given = parser.parse_args(arguments)
    mounts.go_private()
    switch_syncing_off()  # what a kill leaves, or an error, is in the page cache all the same
    dice = random.Random(1)
    tallies = []
    again = Tally("killed, and killed again while recovering")
    with several_mounts() as host:
        for act in given.act or acts:
            sweep = Sweep(act, host)
            tally = Tally(f"killed during {act}")
            tallies.append(tally)
            every = range(sweep.ends.calls)
            for at in sorted(dice.sample(every, given.sample)) if 0 < given.sample < len(every) else every:
                found = sweep.kill(at)
                tally.count(not found, f"before call {at} of {len(every)}: {'; '.join(found[:6])}")
            for _ in range(given.again):
                at = dice.choice(every)
                if (found_again := sweep.kill_again(at, dice)) is not None:
                    again.count(not found_again, f"{act}, before call {at}: {'; '.join(found_again[:6])}")
    return tell([*tallies, again])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
