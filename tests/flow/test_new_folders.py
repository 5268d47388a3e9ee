# SPDX-License-Identifier: Apache-2.0
"""Folders that the host does not have are placed whole: by one rename, with all that is wanted in them, and no more."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ashore.acts.transaction import transaction
from ashore.acts.transaction.recover import recover
from ashore.errors import ChangedError, UnchangedError
from ashore.mechanisms import syscalls
from ashore.nouns.journal import Recovered
from tests.fakes.bundles import File, Folder
from tests.fakes.images import folder, hardlink, layer, member, symlink
from tests.flow.machine import Machine

ONE = "reg.example/all:1"
ROOT = "ashore/root/"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def at(*members: bytes) -> bytes:
    return layer(folder(ROOT), *members)


def named(make: Callable[..., bytes], path: str, *arguments: object, **options: object) -> bytes:
    return make(ROOT + path, *arguments, **options)


CASES: Mapping[str, tuple[list[bytes], dict[str, str]]] = {
    "a template is rendered, and what it is made of is not placed": (
        [at(named(member, "opt/x/a.conf.j2", b"{{ 1 + 1 }}"), named(member, "opt/x/b", b"b"))],
        {"opt/x/a.conf": "2", "opt/x/b": "b"},
    ),
    "a folder of templates alone": ([at(named(member, "opt/x/y/a.j2", b"{{ 2 }}"))], {"opt/x/y/a": "2"}),
    "one content under several names": (
        [at(*(named(member, f"opt/{name}", b"same") for name in ("x/a", "x/b", "y/a", "z.j2")))],
        {"opt/x/a": "same", "opt/x/b": "same", "opt/y/a": "same", "opt/z": "same"},
    ),
    "a later layer replaces a file": (
        [at(named(member, "opt/x/a", b"old")), at(named(member, "opt/x/a", b"new"))],
        {"opt/x/a": "new"},
    ),
    "a later layer removes a file": (
        [at(named(member, "opt/x/a", b"a"), named(member, "opt/x/b", b"b")), at(named(member, "opt/x/.wh.a"))],
        {"opt/x/b": "b"},
    ),
    "a later layer removes a folder": (
        [at(named(member, "opt/x/y/a", b"a"), named(member, "opt/x/b", b"b")), at(named(member, "opt/x/.wh.y"))],
        {"opt/x/b": "b"},
    ),
    "a file becomes a folder": (
        [at(named(member, "opt/x/a", b"a")), at(named(folder, "opt/x/a"), named(member, "opt/x/a/b", b"b"))],
        {"opt/x/a/b": "b"},
    ),
    "a folder becomes a file": (
        [at(named(member, "opt/x/a/b", b"b")), at(named(member, "opt/x/a", b"a"))],
        {"opt/x/a": "a"},
    ),
    "a folder becomes a symlink": (
        [at(named(member, "opt/x/a/b", b"b"), named(member, "opt/x/c", b"c")), at(named(symlink, "opt/x/a", "c"))],
        {"opt/x/a": "-> c", "opt/x/c": "c"},
    ),
    "hard links and symlinks": (
        [
            at(
                named(member, "opt/x/a", b"a"),
                hardlink(f"{ROOT}opt/x/b", f"{ROOT}opt/x/a"),
                named(symlink, "opt/x/l", "../gone"),
            )
        ],
        {"opt/x/a": "a", "opt/x/b": "a", "opt/x/l": "-> ../gone"},
    ),
    "folders of their own modes, one of them empty": (
        [
            at(
                named(folder, "opt/x/shut", b"0000500"),
                named(member, "opt/x/shut/a", b"a"),
                named(folder, "opt/x/none", b"0000711"),
            )
        ],
        {"opt/x/shut": "0o500", "opt/x/shut/a": "a", "opt/x/none": "0o711"},
    ),
    "an empty file": ([at(named(member, "opt/x/a"))], {"opt/x/a": ""}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_new_folder_holds_what_is_wanted_and_no_more(case: str, machine: Machine) -> None:
    layers, wanted = CASES[case]
    machine.images.add_layers(ONE, layers)
    machine.install(ONE)
    assert lying(machine.root / "opt") == {path: what for path, what in wanted.items() if not what.startswith("0o")}
    for path, mode in wanted.items():
        if mode.startswith("0o"):
            assert oct(stat.S_IMODE((machine.root / path).stat().st_mode)) == mode
    assert machine.leftovers() == []
    for path, record in machine.tools().history.current().files.items():
        assert record.stat == machine.marks(path), f"{path} would be read again by the next status"


def test_it_takes_one_rename_where_others_take_one_each(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.images.add(ONE, {f"opt/new/{n % 7}/{n}": File(f"{n}") for n in range(300)})
    count, real = 0, syscalls._renameat2

    def counted(*arguments: object) -> None:
        nonlocal count
        count += 1
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(syscalls, "_renameat2", counted)
    machine.install(ONE)
    assert count == 1
    machine.remove("all")
    for number in range(7):
        (machine.root / f"opt/new/{number}").mkdir(parents=True)
    count = 0
    machine.install(ONE)
    assert count == 300


def test_a_folder_that_somebody_made_meanwhile_is_not_replaced(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.images.add(ONE, {"opt/new/a": "a"})
    real = syscalls._renameat2

    def beaten(*arguments: object) -> None:
        (machine.root / "opt/new").mkdir(parents=True, exist_ok=True)
        (machine.root / "opt/new/theirs").write_text("theirs")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(syscalls, "_renameat2", beaten)
    with pytest.raises(Exception, match="cannot mkdir"):
        machine.install(ONE)
    assert lying(machine.root / "opt") == {"opt/new/theirs": "theirs"}
    assert machine.leftovers() == []


def lying(top: Path) -> dict[str, str]:
    """Files and symlinks by path."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top.parent))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_text()
    return found


def test_a_folder_that_somebody_makes_meanwhile_is_theirs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned as new, there when its turn comes: it is not ours to take away, and nothing is left to do."""
    machine.images.add(ONE, {"srv/app/sub": Folder(), "etc/a": "a"})
    swap = transaction._swap

    def second(*arguments: Any) -> None:
        machine.write("srv/app/sub/theirs", "theirs\n")
        swap(*arguments)

    monkeypatch.setattr(transaction, "_swap", second)
    with pytest.raises(UnchangedError, match="cannot mkdir"):
        machine.install(ONE)
    assert machine.read("srv/app/sub/theirs") == "theirs\n"
    assert not machine.exists("etc/a") and machine.leftovers() == []
    tools = machine.tools()
    with tools.state.locked():
        assert recover(tools) is Recovered.NOTHING


def test_a_new_folder_that_somebody_filled_is_told_and_goes_once_it_is_empty(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.images.add(ONE, {"srv/app/sub": Folder(), "etc/a": "a"})

    def refuse(*_: Any) -> None:
        machine.write("srv/app/sub/theirs", "theirs\n")
        raise UnchangedError("it is not liked")

    monkeypatch.setattr(transaction, "validate_placed", refuse)
    with pytest.raises(ChangedError) as failed:
        machine.install(ONE)
    assert "/srv/app/sub" in [issue.where for issue in failed.value.issues], "what is left to do is said"
    assert machine.read("srv/app/sub/theirs") == "theirs\n"
    (machine.root / "srv/app/sub/theirs").unlink()
    tools = machine.tools()
    with tools.state.locked():
        assert recover(tools) is Recovered.BACK
    assert not machine.exists("srv/app") and machine.leftovers() == []
