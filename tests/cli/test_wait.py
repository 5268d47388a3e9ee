# SPDX-License-Identifier: Apache-2.0
"""``--wait``: another ashore is at work, and whether one waits for it."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ashore.mechanisms.state.patience import Patience
from tests.cli.shell import Shell


@contextmanager
def at_work(shell: Shell, seconds: float) -> Iterator[None]:
    """Another ashore, for so long."""
    lock = (shell.root / "var/lib/ashore/lock").open("r+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    ends = threading.Timer(seconds, lock.close)
    ends.start()
    try:
        yield
    finally:
        ends.cancel()
        lock.close()


@pytest.fixture
def installed(shell: Shell) -> Shell:
    image = shell.image("app", {"etc/app.conf": "x\n"})
    assert shell.on_root("install", image).code == 0
    return shell


@pytest.mark.parametrize(
    "verb", [("rollback",), ("remove", "app"), ("confirm",), ("prune", "--yes"), ("follow", "--pause")]
)
def test_who_waits_comes_next(installed: Shell, verb: tuple[str, ...]) -> None:
    alone = installed.on_root(*verb, "--wait", "0s") if verb[0] in ("rollback", "confirm", "prune") else None
    with at_work(installed, 1.0):
        ran = installed.on_root(*verb, "--wait", "30s")
    assert ran.code == (alone.code if alone else 0), ran
    assert "another ashore is at work; waiting for it, at most 30s" in ran.err


@pytest.mark.parametrize("wait", [(), ("--wait", "0s"), ("--wait", "1s")])
def test_who_does_not_or_not_long_enough_is_told(installed: Shell, wait: tuple[str, ...]) -> None:
    with at_work(installed, 60), installed.unchanged():
        ran = installed.on_root("remove", "app", *wait)
    assert ran.code == 9 and "another ashore is at work on this host" in ran.err


def test_a_time_that_is_none_is_refused(installed: Shell) -> None:
    ran = installed.on_root("remove", "app", "--wait", "soon")
    assert ran.code == 2 and "--wait soon is not a time" in ran.err


def test_it_says_once_that_it_waits_and_ends_in_time() -> None:
    now, said, tries = [0.0], list[str](), 0
    patience = Patience(1.0, said.append, lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    while patience.lasts():
        tries += 1
        assert tries < 100
    assert (tries, said) == (5, ["another ashore is at work; waiting for it, at most 1s"])
    assert now[0] == pytest.approx(1.0)
