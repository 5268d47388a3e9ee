# SPDX-License-Identifier: Apache-2.0
"""Power cuts from a block log: every flush point, and random parts of what was not flushed yet.

The host's tree lies on two disks. After each cut both are mounted, recovery runs, and the tree must be
exactly the old or exactly the new one; once the command has said that it is done, the new one.

    python -m tests.hostile.crash.powercut [--sample N] [--control | --peers]
"""

import argparse
import contextlib
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.figures.tally import Tally, tell
from tests.hostile.crash import blocklog, mounts
from tests.hostile.crash.apart import apart, neighbour
from tests.hostile.crash.blocklog import Flush, Mark, Record, Write
from tests.hostile.crash.subjects import STORIES, Peer, Seen, Subject, ashore, plain, switch_syncing_off, torn

MOUNTED = {"root": "host", "opt": "host/opt"}
"""The disks, and where they are mounted."""
DISKS = tuple(MOUNTED)
_SECTOR = 4096
"""What a disk writes whole."""


class Cut(NamedTuple):
    """After `at` records of the log, with that part of the unflushed writes which `seed` chooses."""

    at: int
    seed: int
    keep: float
    """The share that is kept: 0 nothing, 1 all."""


def run(subject: Subject, kind: str, tally: Tally, *, sample: int, subsets: int, busy: bool) -> None:
    """Log the act once, then cut it off at many places. `busy`: others on the same disks sync all the time."""
    with mounts.scratch() as folder:
        old, new = _log(subject, kind, folder, busy)
        records = blocklog.read(folder / "log")
        for cut, images in _crashed(records, folder, _cuts(records, sample, subsets)):
            late = any(isinstance(record, Mark) and record.text == "done" for record in records[: cut.at])
            wrong = _judge(subject, kind, images, folder, (new,) if late or subject.leaves else (old, new), (old, new))
            tally.count(not wrong, f"{subject.name} on {kind}, {cut}: {'; '.join(wrong[:5])}")


def _log(subject: Subject, kind: str, folder: Path, busy: bool) -> tuple[Seen, Seen]:
    """Carry the act out on disks that remember; leaves base images and the log. The trees before and after."""
    for disk in DISKS:
        mounts.format_image(folder / f"{disk}.img", kind)

    def prepared() -> Seen:
        for disk in DISKS:
            (folder / "w" / MOUNTED[disk] / "neighbour").touch()
        subject.before(folder / "w")
        return subject.see(folder / "w")

    images = {disk: folder / f"{disk}.img" for disk in DISKS}
    with _mounted(images, folder / "w", kind):
        old = apart(prepared)
    for disk in DISKS:
        mounts.copy_sparse(images[disk], folder / f"{disk}.base")
    logged = {disk: folder / "disks" / disk for disk in DISKS}
    with (
        blocklog.logging(images, folder / "disks", folder / "log"),
        _mounted(logged, folder / "w", kind),
    ):
        neighbours = [neighbour(folder / "w" / MOUNTED[disk]) for disk in DISKS if busy]
        blocklog.mark(folder / "disks", "begin")
        apart(lambda: subject.act(folder / "w"))
        blocklog.mark(folder / "disks", "done")
        for syncing in neighbours:
            syncing.end()
        new = apart(lambda: subject.see(folder / "w"))
    return old, new


@contextlib.contextmanager
def _mounted(images: Mapping[str, Path], at: Path, kind: str) -> Iterator[None]:
    """Both disks, where the host has them."""
    with contextlib.ExitStack() as stack:
        for disk in DISKS:
            stack.enter_context(mounts.Mounted(images[disk], at / MOUNTED[disk], kind))
        yield


def _cuts(records: Sequence[Record], sample: int, subsets: int) -> list[Cut]:
    """At each flush: nothing more, everything more, and random parts up to random moments before the next."""
    begin = next(n for n, record in enumerate(records) if isinstance(record, Mark))
    points = [point for point in blocklog.cut_points(records) if point > begin]
    dice = random.Random(len(records))
    cuts = []
    for at, following in zip([begin, *points], [*points, points[-1]], strict=True):
        cuts += [Cut(at, 0, 0.0), Cut(max(at, following - 1), 0, 1.0)]
        for _ in range(subsets):
            moment = dice.randint(at, max(at, following - 1))
            cuts.append(Cut(moment, dice.getrandbits(32), dice.choice((0.2, 0.5, 0.8))))
    if sample and len(cuts) > sample:
        cuts = dice.sample(cuts, sample)
    return sorted(set(cuts))


def _crashed(records: Sequence[Record], folder: Path, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, dict[str, Path]]]:
    """The images as each cut leaves them; `cuts` in order of time."""
    durable = {disk: folder / f"{disk}.base" for disk in DISKS}
    images = {disk: folder / f"{disk}.crash" for disk in DISKS}
    flushed = dict.fromkeys(DISKS, 0)
    for cut in cuts:
        dice = random.Random(cut.seed)
        for disk in DISKS:
            upto = 1 + max((n for n in range(cut.at) if records[n] == Flush(disk)), default=-1)
            _apply(durable[disk], _writes(records[flushed[disk] : upto], disk))
            flushed[disk] = max(upto, flushed[disk])
            mounts.copy_sparse(durable[disk], images[disk])
            pending = [part for write in _writes(records[upto : cut.at], disk) for part in _parts(write)]
            _apply(images[disk], [part for part in pending if dice.random() < cut.keep])
        yield cut, images


def _writes(records: Sequence[Record], disk: str) -> list[Write]:
    return [record for record in records if isinstance(record, Write) and record.disk == disk]


def _parts(write: Write) -> Iterator[Write]:
    for start in range(0, len(write.data), _SECTOR):
        yield Write(write.disk, write.offset + start, write.data[start : start + _SECTOR])


def _apply(image: Path, writes: Sequence[Write]) -> None:
    with image.open("r+b", buffering=0) as file:
        for write in writes:
            os.pwrite(file.fileno(), write.data, write.offset)


def _judge(
    subject: Subject, kind: str, images: dict[str, Path], folder: Path, allowed: Sequence[Seen], both: tuple[Seen, Seen]
) -> list[str]:
    def judged() -> list[str]:
        at = folder / "w"
        wrong = []
        switch_syncing_off()  # This image is thrown away; recoveries that are cut are acts of their own.
        try:
            subject.mend(at)
            wrong += subject.problems(at)
        except Exception as error:
            wrong.append(f"not mended: {type(error).__name__}: {error}")
        seen = subject.see(at)
        if seen not in allowed:
            nearest = min(allowed, key=lambda tree: len(_differing(seen, tree)))
            wrong.append("neither old nor new" if len(allowed) > 1 else "said to be done, and it is not")
            wrong += [f"torn: {path}" for path in torn(seen, *both)]
            wrong += [f"differs: {path}" for path in _differing(seen, nearest)]
        return wrong

    try:
        with _mounted(images, folder / "w", kind):
            return apart(judged)
    except (OSError, RuntimeError) as error:
        return [f"does not mount, or cannot be read: {error}"]


def _differing(one: Seen, other: Seen) -> list[str]:
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="at most so many cuts of each act; else all")
    parser.add_argument("--busy-sample", type=int, default=100, help="the same, while others sync all the time")
    parser.add_argument("--subsets", type=int, default=2, help="random parts of unflushed writes at each flush")
    parser.add_argument("--file-system", action="append", choices=mounts.SIZES, help="both if not given")
    parser.add_argument("--act", action="append", choices=STORIES, help="all if not given")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--control", action="store_true", help="ashore with syncing switched off: must fail")
    mode.add_argument("--peers", action="store_true", help="tar and dpkg beside ashore, with one plain tree")
    given = parser.parse_args(arguments)
    mounts.go_private()
    kinds = given.file_system or list(mounts.SIZES)
    acts = given.act or list(STORIES)

    def cut(subject: Subject, kind: str, tally: Tally) -> None:
        run(subject, kind, tally, sample=given.sample, subsets=given.subsets, busy=False)
        run(subject, kind, tally, sample=given.busy_sample, subsets=given.subsets, busy=True)

    tallies = []
    if given.peers:
        with mounts.scratch() as packages:
            for kind, subject in ((k, s) for k in kinds for s in _peers(packages / k)):
                tallies.append(
                    Tally(f"{subject.name}, one plain tree, cut on {kind}", expected=subject.name == "ashore")
                )
                cut(subject, kind, tallies[-1])
    else:
        for kind in kinds:
            title = f"power cut, syncing off, {kind}" if given.control else f"power cut, {kind}"
            tallies.append(Tally(title, expected=not given.control))
            for act in acts:
                cut(ashore(act, syncing=not given.control), kind, tallies[-1])
    return tell(tallies)


def _peers(folder: Path) -> list[Subject]:
    return [Peer(folder / "tar").tar(), Peer(folder / "dpkg").dpkg(), plain()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
