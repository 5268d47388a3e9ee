# SPDX-License-Identifier: Apache-2.0
"""A local user's race: a parent folder and a symlink that leads out change places all the time."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ashore.acts.transaction.recover import recover
from ashore.errors import AshoreError, ExitCode
from ashore.mechanisms import syscalls
from tests.flow.machine import Machine
from tests.hostile.images.host import differing, look

FIRST, SECOND = "reg.example/race:1", "reg.example/race:2"
FOLDER, DECOY = "srv/app", "srv/.decoy"
NAMES = ("one.conf", "two.conf", "sub/three.conf")


class Raced(NamedTuple):
    """What came of it: stories tried and done, what is wrong, and how often the two changed places."""

    tried: int
    done: int
    problems: list[str]
    swaps: int


def raced(folder: Path, leads: str, seconds: float) -> Raced:
    """Install, upgrade, roll back and remove for so long, while the parent of every path is swapped.

    `leads` is where the symlink leads: ``OUTSIDE`` stands for the absolute path of a folder beside the root.
    """
    machine = Machine(folder)
    for number, name in enumerate((FIRST, SECOND), 1):
        machine.images.add(name, {f"{FOLDER}/{path}": f"from version {number}\n" for path in NAMES})
    outside = victim(folder)
    (machine.root / FOLDER).mkdir(parents=True)
    (machine.root / DECOY).symlink_to(leads.replace("OUTSIDE", str(outside)))
    before = look(outside, times=True)
    stories: tuple[Callable[[], object], ...] = (
        lambda: machine.install(FIRST),
        lambda: machine.install(SECOND),
        machine.roll_back,
        lambda: machine.remove("race"),
        lambda: _recover(machine),
    )
    problems: list[str] = []
    tried = done = 0
    with swapping(machine.root) as swaps:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                stories[tried % len(stories)]()
                done += 1
            except AshoreError as error:
                problems += [f"exit 1: {error}"] if error.code == ExitCode.FAULT else []
            except Exception as error:
                problems.append(f"a traceback: {error!r}")
            tried += 1
    problems += [f"outside: {path}" for path in differing(before, look(outside, times=True))]
    return Raced(tried, done, problems + _settled(machine), swaps())


def _settled(machine: Machine) -> list[str]:
    """Once nobody races, recovery and removal work, and an install brings all of it."""
    if (machine.root / FOLDER).is_symlink():
        syscalls.exchange(-100, str(machine.root / FOLDER), -100, str(machine.root / DECOY))
    try:
        _recover(machine)
        if machine.tools().history.current().bundles:  # a file that the swap took away counts as deleted until then
            machine.remove("race")
        machine.install(FIRST, adopt_all=True)
        came = all((machine.root / FOLDER / name).read_text() == "from version 1\n" for name in NAMES)
    except AshoreError as error:
        return [f"afterwards: {error}"]
    return [] if came else ["afterwards it is not what was installed"]


def _recover(machine: Machine) -> None:
    tools = machine.tools()
    if tools.state.fd is not None:
        with tools.state.locked():
            recover(tools)


def victim(folder: Path) -> Path:
    """A folder beside the root, with files of the very names that the bundle has."""
    outside = folder / "outside"
    for name in (*NAMES, "own"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("not yours\n")
    return outside


@contextmanager
def swapping(root: Path) -> Iterator[Callable[[], int]]:
    """Another process lets folder and symlink change places as fast as it can; the count comes after the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count, going = 0, True

        def stop(*_: object) -> None:
            nonlocal going
            going = False

        signal.signal(signal.SIGTERM, stop)
        here, there = str(root / FOLDER), str(root / DECOY)
        while going:
            with suppress(OSError):
                syscalls.exchange(-100, here, -100, there)
                count += 1
        os.write(writer, str(count).encode())
        os._exit(0)
    os.close(writer)
    said: list[bytes] = []
    try:
        yield lambda: int(said[0])
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        said.append(os.read(reader, 100))
        os.close(reader)


def control(folder: Path, seconds: float) -> bool:
    """Whether a program that joins paths and trusts them writes outside within so long."""
    root = folder / "host"
    (root / FOLDER / "sub").mkdir(parents=True)
    outside = victim(folder)
    (root / DECOY).symlink_to(outside)
    before = look(outside)
    with swapping(root):
        until = time.monotonic() + seconds
        while time.monotonic() < until and look(outside) == before:
            for name in NAMES:
                with suppress(OSError):
                    (root / FOLDER / name).write_text("version\n")
    return look(outside) != before
