# SPDX-License-Identifier: Apache-2.0
"""Where ashore keeps its state: behind symlinks, where it cannot lie, and where it was made for nothing."""

import errno
import os
from collections.abc import Callable

import pytest

from ashore.acts.change import install as stories
from ashore.acts.change.farewell import farewell
from ashore.errors import (
    BusyError,
    InputError,
    UnchangedError,
)
from ashore.mechanisms import syscalls
from ashore.mechanisms.state.state import State
from tests.flow.machine import Machine

ONE, TWO, THREE = "reg.example/app:1", "reg.example/app:2", "reg.example/app:3"
OTHER = "reg.example/other:1"


def test_where_the_state_cannot_lie_nothing_is_touched(host: Machine) -> None:
    host.images.add(ONE, {"etc/app.conf": "one\n"})
    before = host.tree()
    (host.root / "var/lib").rename(host.root / "var/elsewhere")
    (host.root / "var/lib").write_text("a file where the state should be\n")
    broken = host.tree()
    with pytest.raises(UnchangedError) as raised:
        host.install(ONE)
    assert "var/lib" in str(raised.value)
    assert host.tree() == broken
    (host.root / "var/lib").unlink()
    (host.root / "var/elsewhere").rename(host.root / "var/lib")
    assert host.tree() == before


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_state_may_be_a_symlink_to_a_folder(
    host: Machine, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.root / "data/ours").mkdir(parents=True)
    os.symlink("/data/ours", host.root / "var/lib/ashore")
    host.images.add(ONE, {"etc/app.conf": "one\n", "opt/app": "one"})
    host.images.add(TWO, {"etc/app.conf": "two\n", "opt/app": "two"})
    before = host.tree()
    host.install(ONE)
    host.install(TWO)
    host.roll_back()
    assert host.read("opt/app") == "one"
    assert host.leftovers() == []
    host.images.add(OTHER, {"data/ours/generations/x": "x"})
    with pytest.raises(InputError, match="cannot be used"):
        host.install(OTHER)
    stories.remove(host.tools(), ["app"], purge=True)
    if not exchanges:
        monkeypatch.setattr(syscalls, "exchange", _cannot)
    host.tools().state.purge()
    assert {path for path in before if path not in host.tree()} == set()
    assert (host.root / "var/lib/ashore").is_symlink() and os.listdir(host.root / "data") == ["ours"]
    assert os.listdir(host.root / "data/ours") == []
    host.install(ONE)
    assert (host.root / "data/ours/current").exists(), "the symlink still leads there"


@pytest.mark.parametrize("link", ["var/lib/ashore", "var/lib", "data"])
def test_a_state_behind_a_symlink_that_leads_nowhere_is_no_fresh_host(host: Machine, link: str) -> None:
    """What is mounted there later has a state, and perhaps a transaction that was interrupted."""
    (host.root / "data/lib/ashore").mkdir(parents=True)
    (host.root / "var/lib").rmdir()
    os.symlink("/data/lib", host.root / "var/lib")
    if link == "var/lib/ashore":
        (host.root / "var/lib").unlink()
        (host.root / "var/lib").mkdir()
        os.symlink("../../data/lib/ashore", host.root / "var/lib/ashore")
    host.images.add(ONE, {"etc/app.conf": "one\n"})
    host.images.add(TWO, {"etc/app.conf": "two\n"})
    host.install(ONE)
    (host.root / "data").rename(host.root / "away")
    if link == "data":
        os.symlink("nowhere", host.root / "data")
    else:
        (host.root / "data").mkdir()  # a mount point
    before = host.tree()
    for act in (lambda: host.install(TWO), lambda: host.tools().state.fd, host.roll_back):
        with pytest.raises(UnchangedError, match="state is not there: /var/lib") as raised:
            act()
        assert "mount" in raised.value.remedy and "is a symlink to" in str(raised.value)
    assert host.tree() == before
    if link == "data":
        (host.root / "data").unlink()
    else:
        (host.root / "data").rmdir()
    (host.root / "away").rename(host.root / "data")
    assert host.install(TWO).generation.number == 2


@pytest.mark.parametrize("var", [True, False], ids=["a root with /var/lib", "a root without"])
def test_what_was_refused_first_leaves_no_state(host: Machine, var: bool) -> None:
    """Nor the folders above it, which nobody but ashore had made; and so does the last one that is purged."""
    if not var:
        (host.root / "var/lib").rmdir()
        (host.root / "var").rmdir()
    before = sorted(host.root.rglob("*"))
    host.images.add("reg.example/bad:1", {"etc/x.j2": "{{ nothing }}"})
    with pytest.raises(InputError):
        host.install("reg.example/bad:1")
    assert sorted(host.root.rglob("*")) == before
    host.images.add("reg.example/good:1", {"etc/x": "x"})
    host.install("reg.example/good:1")
    with pytest.raises(InputError):
        host.install("reg.example/bad:1")
    assert host.tools().history.current().number == 1
    host.remove("good")
    farewell(host.tools())
    assert sorted(host.root.rglob("*")) == before


@pytest.mark.parametrize("look", [State.prepare, lambda state: state.fd], ids=["written to", "looked at"])
def test_a_state_that_another_takes_away_meanwhile_is_not_locked(
    host: Machine, look: Callable[[State], object]
) -> None:
    """Whoever held a lock in a folder that is gone would hold nobody off."""
    one, other = host.tools().state, host.tools().state
    one.prepare()
    assert look(other) is not None
    with one.locked():
        one.purge()
    with other.locked():
        other.folder("secrets")
        with pytest.raises(BusyError), one.locked():
            pass
    assert host.exists("var/lib/ashore/lock")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another owner")
def test_a_state_where_somebody_else_says_it_lies_is_not_locked(host: Machine) -> None:
    """That is no fault but an error like others: a boot holds the units of bundles where it cannot recover."""
    (host.root / "data/ours").mkdir(parents=True)
    os.symlink("/data/ours", host.root / "var/lib/ashore")
    host.tools().state.prepare()
    os.lchown(host.root / "var/lib/ashore", 1000, 1000)
    with pytest.raises(UnchangedError, match="cannot lock /var/lib/ashore"), host.tools().state.locked():
        pass


def _cannot(*_: object) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
