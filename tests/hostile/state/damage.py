# SPDX-License-Identifier: Apache-2.0
"""Hosts whose state has every kind of file, ways to damage one of them, and what may come of it."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ashore.acts.ask.look import status
from ashore.acts.transaction import unconfirmed
from ashore.acts.transaction.recover import recover
from ashore.errors import AshoreError, ExitCode
from ashore.mechanisms.state import following
from ashore.nouns.confirm import Provisional
from ashore.nouns.follow import Following, Paused
from tests.fakes.bundles import Tree
from tests.flow.machine import Machine
from tests.flow.test_kill import in_child

NAME = "reg.example/all"
TOML = """
[values]
token = { required = true, secret = true }
[[files]]
path = "etc/app/edited.conf"
on_edit = "replace"
[[files]]
path = "etc/app/merged.conf"
on_edit = "merge"
"""
STATE = "var/lib/ashore"
MERGED = "etc/app/merged.conf"

Story = Callable[[Machine], object]


def tree(version: int) -> Tree:
    return {
        "etc/app/app.conf": f"version {version}\n",
        "etc/app/edited.conf": f"shipped with {version}\n",
        MERGED: f"version {version}\n" + "between\n" * 5 + "end\n",
        "etc/ld.so.conf.d/app.conf": f"/opt/lib-{version}\n",
        "etc/app/secret.j2": "token={{ values.token }}\n",
        "opt/app/program": f"binary {version}\n" * 50,
        f"opt/app/only-{version}": "x\n",
    }


class Situation(NamedTuple):
    """A host that `make` puts into a folder, what is done on it, and the trees that may be its result.

    An interrupted one is killed anew each time: recovery goes by inodes, and a copy has others.
    """

    make: Callable[[Path], Machine]
    stories: Mapping[str, Story]
    ends: Mapping[str, tuple[Mapping[str, object], ...]]
    """Story -> the trees that it may end with when it says that it did what it was asked."""
    known: tuple[Mapping[str, object], ...] = ()
    """Trees of whole generations: recovery may have got there before the damage was met."""


class Damage(NamedTuple):
    """What becomes of one file of the state. None: it is gone."""

    file: str
    kind: str
    change: Callable[[bytes], bytes | None]


def look(machine: Machine) -> dict[str, object]:
    """The tree without ashore's own units: they follow a record that somebody may have removed."""
    units = "etc/systemd/system/"
    own = ("ashore-", "sysinit.target.wants", "timers.target.wants")
    return {p: what for p, what in machine.tree().items() if not (p.startswith(units) and any(o in p for o in own))}


def prepared(folder: Path) -> Machine:
    """Generations, some collected, an edit that was moved aside by one of those, a secret value, a held digest."""
    made = Machine(folder)
    for version in (1, 2, 3, 4):
        made.images.add(f"{NAME}:{version}", tree(version), TOML)
    made.write("usr/sbin/ldconfig", "", mode=0o755)
    made.install(f"{NAME}:1", sets={"token": "very secret"})
    made.write("etc/app/edited.conf", "an edit\n")
    made.write(MERGED, made.read(MERGED) + "an administrator's line\n")
    made.install(f"{NAME}:2", sets={"token": "very secret"})
    for version in (3, 2, 3):
        made.install(f"{NAME}:{version}")
    made.roll_back()
    tools = made.tools()
    with tools.state.locked():
        following.write(tools.state, Following(paused=Paused(since="2026-01-01T00:00:00Z")))
        began = "2026-01-01T00:00:00Z"
        waiting = Provisional(back=4, within=300.0, since=0.0, boot="", began=began, until=began)
        tools.history.await_confirmation(waiting)
        unconfirmed.see_to(tools)
    return made


def settled(folder: Path) -> Situation:
    """A host at rest, whose next command is one of three."""
    template = prepared(folder / "settled")
    before = look(template)

    def cut_off(machine: Machine) -> None:
        machine.images.down = True
        try:
            machine.roll_back()
        finally:
            machine.images.down = False

    stories: dict[str, Story] = {
        "install": lambda m: m.install(f"{NAME}:4"),
        "rollback without a network": cut_off,
        "remove": lambda m: m.remove("all"),
        "status": lambda m: status(m.tools()),
    }
    ends = {name: (_end(folder, name, template, story),) for name, story in stories.items()}
    return Situation(lambda to: fresh(template, to), stories, ends | {"status": (before,)})


def interrupted(folder: Path) -> dict[str, Situation]:
    """Hosts that were killed in an upgrade: with a journal that has begun, is staged, or holds its verdict."""
    template = prepared(folder / "prepared")
    upgrade: Story = lambda m: m.install(f"{NAME}:4")  # noqa: E731 - a story, as the others are
    old, new = look(template), _end(folder, "upgrade", template, upgrade)
    total = in_child(upgrade, fresh(template, folder / "count"), -1)
    stories: dict[str, Story] = {"recover": _recover, "install": upgrade, "status": lambda m: status(m.tools())}
    found: dict[int, Situation] = {}

    def killed(to: Path, at: int) -> Machine:
        machine = fresh(template, to)
        in_child(upgrade, machine, at)
        return machine

    for at in range(total):
        machine = killed(folder / f"killed-{at}", at)
        parts = sum(1 for _ in (machine.root / STATE / "journal").glob("[1-3]-*.json"))
        half = parts == 2 and look(machine) in (old, new)
        if parts and parts not in found and not half:
            ends = {"recover": (old, new), "install": (new,), "status": (look(machine),)}
            found[parts] = Situation(lambda to, at=at: killed(to, at), stories, ends, (old, new))  # type: ignore[misc]
        shutil.rmtree(machine.folder)
    names = {1: "begun", 2: "staged, half swapped", 3: "judged"}
    return {name: found[parts] for parts, name in names.items()}


def fresh(template: Machine, folder: Path) -> Machine:
    """A copy of a host, with the same registry."""
    shutil.copytree(template.root, folder / "host", symlinks=True)
    return Machine(folder, template.images)


def files(machine: Machine) -> list[str]:
    """Every file of the state that holds anything, by its path in the state folder."""
    state = machine.root / STATE
    found = (path for path in sorted(state.rglob("*")) if path.is_file() and path.stat().st_size)
    names = [str(path.relative_to(state)) for path in found]
    return [name for name in names if name != "lock" and not name.startswith("stage/") and "/." not in f"/{name}"]


def truncations(machine: Machine, file: str, most: int | None = None) -> Iterator[Damage]:
    """The file cut off at every byte, or at `most` places evenly, the first and last byte among them; and gone."""
    data = (machine.root / STATE / file).read_bytes()
    few = (
        range(len(data))
        if most is None or most >= len(data)
        else [n * (len(data) - 1) // (most - 1) for n in range(most)]
    )
    places = sorted(set(few))
    if file != "provisional.json":  # who deletes it has deleted what it says: that the change is not final
        yield Damage(file, "gone", lambda _: None)
    for at in places:
        yield Damage(file, f"cut off at {at} of {len(data)}", lambda now, at=at: now[:at])  # type: ignore[misc]


def every_byte(machine: Machine, file: str) -> Iterator[list[str]]:
    """A sealed file cut off at each byte in turn: whoever reads it has to refuse it. The host stays as it is."""
    path = machine.root / STATE / file
    data, before = path.read_bytes(), look(machine)
    for at in range(len(data) - 1):  # the last one ends the line, and says nothing
        path.write_bytes(data[:at])
        yield [f"{file} cut off at {at} of {len(data)}: {problem}" for problem in _taken_for_whole(machine, file)]
        path.write_bytes(data)
    yield [] if look(machine) == before else [f"{file}: the host changed"]


def _taken_for_whole(machine: Machine, file: str) -> list[str]:
    try:
        _recover(machine) if file.startswith("journal/") else machine.tools().history.check()
    except AshoreError as error:
        return [] if error.remedy or error.issues else [f"nothing says what to do: {error}"]
    except Exception as error:
        return [f"a traceback: {error!r}"]
    return ["taken for whole"]


def flips(machine: Machine, chance: random.Random, count: int) -> Iterator[Damage]:
    """`count` single bits flipped, anywhere in the state, each file as often as any other."""
    every = files(machine)
    for number in range(count):
        file = every[number % len(every)]
        at, bit = chance.randrange((machine.root / STATE / file).stat().st_size), chance.randrange(8)
        yield Damage(file, f"bit {bit} of byte {at} flipped", lambda now, at=at, bit=bit: flipped(now, at, bit))  # type: ignore[misc]


def flipped(data: bytes, at: int, bit: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def tries(situation: Situation, name: str, damage: Damage, folder: Path) -> list[str]:
    """Do the story on a copy whose state is damaged; what is wrong with how it ends."""
    machine = situation.make(folder)
    path = machine.root / STATE / damage.file
    data = damage.change(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    before = look(machine)
    try:
        situation.stories[name](machine)
    except AshoreError as error:
        problems = [f"exit {error.code}: {error}"] if error.code == ExitCode.FAULT else []
        problems += [] if look(machine) in (before, *situation.known) else [f"it failed and changed the host: {error}"]
        told = error.remedy or error.issues or error.code == ExitCode.NETWORK
        problems += [] if told else [f"nothing says what to do: {error}"]
        problems += _looks_fresh(machine)
    except Exception as error:
        problems = [f"a traceback: {error!r}"]
    else:
        problems = [] if look(machine) in _allowed(situation.ends[name], damage, before) else ["a wrong apply"]
    shutil.rmtree(folder)
    return [f"{name}, {damage.file} {damage.kind}: {problem}" for problem in problems]


def _allowed(ends: Iterable[Mapping[str, object]], damage: Damage, before: Mapping[str, object]) -> list[object]:
    """Where the base of a merge is damaged, the edit stays and the new version waits."""
    waits = [{**end, MERGED: before[MERGED]} for end in ends if damage.file.startswith("content/") and MERGED in end]
    return [*ends, *waits]


def _looks_fresh(machine: Machine) -> list[str]:
    """Whether the next command would take the host for one that ashore never touched."""
    try:
        return ["the host is taken for a fresh one"] if machine.tools().history.current().number == 0 else []
    except AshoreError:
        return []


def _recover(machine: Machine) -> None:
    tools = machine.tools()
    with tools.state.locked():
        recover(tools)


def _end(folder: Path, name: str, template: Machine, story: Story) -> Mapping[str, object]:
    machine = fresh(template, folder / f"end of {name}")
    story(machine)
    return look(machine)
