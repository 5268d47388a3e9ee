# SPDX-License-Identifier: Apache-2.0
"""Run programs in turn, several rounds, and keep what each took: wall clock, processor time, peak memory."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LAUNCHER = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True)
class Usage:
    """One run: seconds, seconds of processor, bytes of memory, bytes that the disk took."""

    wall: float
    cpu: float
    peak: int
    written: int | None = None
    """None: nobody looked."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work. `prepare` and `finish` are not measured."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], object] = lambda: None
    finish: Callable[[], object] = lambda: None
    env: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Callable[[], float] = lambda: 0.0
    """Seconds of processor that daemons have used so far on its behalf."""
    disk: Callable[[], int] | None = None
    """Bytes that the disk which it writes to has taken so far, where that is looked at."""


@dataclass
class Series:
    """What one contender took in all rounds."""

    name: str
    runs: list[Usage] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> int:
        return max(run.peak for run in self.runs)

    @property
    def written(self) -> int | None:
        """None where nobody looked."""
        seen = [run.written for run in self.runs if run.written is not None]
        return int(statistics.median(seen)) if seen else None

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest run."""
        return min(run.wall for run in self.runs), max(run.wall for run in self.runs)


class FailedError(RuntimeError):
    """A contender did not do the work."""


def run(contender: Contender) -> Usage:
    """Prepare, then run once.

    Raises:
        FailedError: with what the program said.
    """
    contender.prepare()
    before, disk = contender.elsewhere(), contender.disk() if contender.disk else None
    reader, writer = os.pipe()
    launcher = [sys.executable, "-I", "-S", _LAUNCHER, str(writer)]
    try:
        done = subprocess.run(
            [*launcher, *contender.command],
            env=os.environ | contender.env,
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        daemons = contender.elsewhere() - before
        written = contender.disk() - disk if contender.disk and disk is not None else None
    finally:
        contender.finish()
    os.close(writer)
    with open(reader) as file:
        said = dict(part.split("=") for part in file.read().split())
    if int(said.get("code", 1)) != 0:
        raise FailedError(f"{contender.name} failed: {done.stdout.decode(errors='replace')[-300:]}")
    return Usage(wall=float(said["wall"]), cpu=float(said["cpu"]) + daemons, peak=int(said["peak"]), written=written)


def in_turn(contenders: Sequence[Contender], rounds: int) -> tuple[list[Series], list[str]]:
    """Each contender once a round, each round beginning with another one; one round beforehand to warm up.

    A peer that fails when it is tried first is left out, and the second list says so.

    Raises:
        FailedError: the first contender failed, or another one in a later round.
    """
    able: list[Contender] = []
    left_out: list[str] = []
    for contender in contenders:
        try:
            run(contender)
            able.append(contender)
        except FailedError as error:
            if contender is contenders[0]:
                raise
            left_out.append(" ".join(str(error).split()))
    taken = [Series(contender.name) for contender in able]
    for number in range(rounds):
        for at in range(len(able)):
            which = (at + number) % len(able)
            taken[which].runs.append(run(able[which]))
    return taken, left_out
