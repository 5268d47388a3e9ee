# SPDX-License-Identifier: Apache-2.0
"""Who is cut off: ashore at each of its acts, ashore with syncing switched off, tar and dpkg.

Each has a tree before, an act, what it offers for afterwards, and a way to say what is wrong then.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ashore.acts.change.pending import settle
from ashore.acts.transaction.collect import collect
from ashore.acts.transaction.recover import recover
from ashore.mechanisms import durable, syscalls
from ashore.mechanisms.state.content import hash_file
from ashore.nouns.files import Decided
from ashore.rules.files import retention
from tests.fakes.bundles import FakeImages, File, Folder, Link, Tree
from tests.flow.machine import Machine, snapshot
from tests.flow.test_kill import EDITED, FIRST, SECOND, TOML, V1, V2, Story

Seen = Mapping[str, tuple[object, ...]]
MANY_1, MANY_2 = "reg.example/many:1", "reg.example/many:2"
EDIT = "what an administrator made of it\n"


OWNED: Tree = {
    "opt/owned": File("not root's\n", mode=0o4750, uid=1000, gid=1001),
    "var/lib/app/shared": Folder(0o1777),
    "var/lib/app/nowhere": Link("/no/such/file"),
    "srv/with space and \N{SNOWMAN}": File("", mode=0o600, xattrs={"user.note": b"empty but marked"}),
}


MERGES = '[[files]]\npath = "etc/app/merged.conf"\non_edit = "merge"\n'


def lines(version: int) -> Tree:
    """A file that is merged with an edit, and one after which the linker's cache is due."""
    return {
        "etc/app/merged.conf": f"version {version}\n" + "between\n" * 5 + "end\n",
        "etc/ld.so.conf.d/app.conf": f"/opt/lib-{version}\n",
    }


def _edit(machine: Machine) -> None:
    machine.write("etc/app/app.conf", EDIT)


def _edit_at_the_end(machine: Machine) -> None:
    machine.write("etc/app/merged.conf", machine.read("etc/app/merged.conf") + "an administrator's line\n")


def _take(machine: Machine) -> None:
    settle(machine.tools(), ["etc/app/app.conf"], Decided.TAKE)


def _killed_at_the_verdict(machine: Machine, *, written: bool) -> None:
    """An upgrade that swapped everything, and was killed just before or just after its verdict was durable."""
    child = os.fork()
    if child == 0:
        real = durable.replace

        def replace(
            directory: int,
            name: str,
            data: bytes | Iterable[bytes],
            *,
            mode: int = 0o600,
            along: Sequence[tuple[str, str]] = (),
        ) -> None:
            verdict = name == "3-verdict.json"
            if written or not verdict:
                real(directory, name, data, mode=mode, along=along)
            if verdict:
                os.kill(os.getpid(), signal.SIGKILL)

        durable.replace = replace
        try:
            machine.install(V2)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"


def _recover(machine: Machine) -> None:
    tools = machine.tools()
    with tools.state.locked():
        recover(tools)


def _prune(machine: Machine) -> None:
    tools = machine.tools()
    with tools.state.locked():
        recover(tools)
        collect(tools, keep=1)


RECOVERIES = ("recovery back", "recovery forward")
"""Acts that begin between two generations: there is no going back to that."""
STORIES: dict[str, tuple[list[Story], Story]] = {
    "install": ([], lambda m: m.install(V1)),
    "upgrade": ([lambda m: m.install(V1)], lambda m: m.install(V2)),
    "upgrade over an edit": ([lambda m: m.install(V1), _edit], lambda m: m.install(V2)),
    "upgrade that merges": ([lambda m: m.install(V1), _edit_at_the_end], lambda m: m.install(V2)),
    "take what waits": ([lambda m: m.install(V1), _edit, lambda m: m.install(V2)], _take),
    "rollback over a merge": ([*EDITED, lambda m: m.install(V2)], lambda m: m.roll_back()),
    "rollback": ([lambda m: m.install(V1), lambda m: m.install(V2)], lambda m: m.roll_back()),
    "remove": ([lambda m: m.install(V1)], lambda m: m.remove("all")),
    "folders only": ([lambda m: m.install(V1)], lambda m: m.install("reg.example/all:folders")),
    "upgrade of many": ([lambda m: m.install(MANY_1)], lambda m: m.install(MANY_2)),
    "recovery back": ([lambda m: m.install(V1), lambda m: _killed_at_the_verdict(m, written=False)], _recover),
    "recovery forward": (
        [lambda m: m.install(V1), lambda m: _killed_at_the_verdict(m, written=True)],
        _recover,
    ),
    "prune": ([lambda m: m.install(V1), lambda m: m.install(V2), lambda m: m.roll_back()], _prune),
}


def images_of_all_kinds() -> FakeImages:
    images = FakeImages()
    toml = TOML + MERGES
    first = {**FIRST, **OWNED, **lines(1), "srv/moves": "from one mount\n"}
    images.add(V1, first, toml)
    images.add(V2, {**SECOND, **OWNED, **lines(2), "var/lib/app/moves": "from one mount\n"}, toml)
    images.add("reg.example/all:folders", {**first, "opt/empty": Folder(0o711)}, toml)
    for name, version in ((MANY_1, 1), (MANY_2, 2)):
        images.add(name, many(version))
    return images


def many(version: int) -> Tree:
    """So many files, in so many folders on each disk, that they are synced by file system and not one by one."""
    folders = [f"{top}/many/{n:02}" for top in ("etc", "opt") for n in range(version, 35 + version)]
    return {f"{folder}/{n}": f"{version} {folder} {n}\n" * 300 for folder in folders for n in range(2)}


@dataclass
class Subject:
    """One who changes a root. `root` is the folder that holds the host's tree as `host`."""

    name: str
    before: Callable[[Path], object]
    act: Callable[[Path], object]
    leaves: bool = False
    """What was before is no state to be in."""
    mend: Callable[[Path], object] = lambda _root: None
    problems: Callable[[Path], list[str]] = lambda _root: []
    see: Callable[[Path], Seen] = lambda root: snapshot(root / "host")


def ashore(name: str, *, syncing: bool = True) -> Subject:
    """One of ashore's acts; the same with syncing switched off is the control."""
    before, story = STORIES[name]
    images = images_of_all_kinds()

    def prepare(folder: Path) -> None:
        machine = Machine(folder, images)
        machine.write("etc/adopted", "what the host had\n", mode=0o600)
        machine.write("usr/sbin/ldconfig", "", mode=0o755)
        for earlier in before:
            earlier(machine)

    def act(folder: Path) -> None:
        if not syncing:
            switch_syncing_off()
        story(Machine(folder, images))

    return Subject(
        name, prepare, act, name in RECOVERIES, lambda folder: mend(folder, images), lambda f: wrong(Machine(f, images))
    )


def switch_syncing_off() -> None:
    """In this process nothing is made durable: the control, or where nothing is cut and only time would be lost."""
    for name in ("fsync", "fdatasync"):
        setattr(os, name, lambda _descriptor: None)
    syscalls.syncfs = lambda _descriptor: None  # type: ignore[assignment]


def mend(folder: Path, images: FakeImages) -> None:
    tools = Machine(folder, images).tools()
    if tools.state.fd is not None:
        for expected in (None, "nothing"):
            with tools.state.locked():
                said = recover(tools)
            if expected not in (None, said):
                raise AssertionError(f"a second recovery still did something: {said}")


def wrong(machine: Machine) -> list[str]:
    """What is left over, torn or missing in ashore's own state."""
    tools = machine.tools()
    found = [f"left over: {path}" for path in machine.leftovers()]
    if tools.state.fd is None:
        return found
    current = tools.history.current()
    stored = dict(tools.content.digests())
    for digest in stored:
        descriptor = tools.content.open(digest)
        assert descriptor is not None
        if hash_file(descriptor)[0] != digest:
            found.append(f"torn in the store: {digest}")
        os.close(descriptor)
    needed = retention.needed(tools.history.all(), current, tools.history.edits())
    # What a removal gave back lies on the host, and is nobody's record any more.
    lying = {f"sha256:{what[-1]}" for what in machine.tree().values()}
    return found + [f"gone from the store: {digest}" for digest in sorted(needed - stored.keys() - lying)]


PLAIN_1: Tree = {f"opt/plain/{n:02}": File(f"one {n}\n" * 300 * (n % 7 + 1)) for n in range(30)}
PLAIN_2: Tree = {f"opt/plain/{n:02}": File(f"two {n}\n" * 300 * (n % 5 + 1)) for n in range(2, 32)}


def plain() -> Subject:
    """ashore with the tree that its peers are given."""
    images = FakeImages()
    images.add(V1, PLAIN_1)
    images.add(V2, PLAIN_2)
    return Subject(
        "ashore",
        lambda f: Machine(f, images).install(V1, adopt_all=True),
        lambda f: Machine(f, images).install(V2),
        False,
        lambda f: mend(f, images),
        lambda f: wrong(Machine(f, images)),
    )


@dataclass
class Peer:
    """The same plain tree, by a tool that works file by file."""

    folder: Path
    """Where its archives lie."""
    packed: dict[str, Path] = field(default_factory=dict)

    def tar(self) -> Subject:
        for version in ("one", "two"):
            self._tree(version)
            self.packed[version] = self.folder / f"{version}.tar"
            subprocess.run(["tar", "-C", self.folder / version, "-cf", self.packed[version], "."], check=True)
        return Subject("tar", lambda f: self._untar(f, "one"), lambda f: self._untar(f, "two"))

    def dpkg(self) -> Subject:
        for number, version in enumerate(("one", "two")):
            tree = self._tree(version)
            control = f"Package: plain\nVersion: {number}\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
            (tree / "DEBIAN").mkdir()
            (tree / "DEBIAN/control").write_text(control)
            self.packed[version] = self.folder / f"{version}.deb"
            subprocess.run(
                ["dpkg-deb", "-Znone", "--build", tree, self.packed[version]], check=True, capture_output=True
            )
        return Subject(
            "dpkg",
            lambda f: self._dpkg(f, "-i", str(self.packed["one"])),
            lambda f: self._dpkg(f, "-i", str(self.packed["two"])),
            False,
            lambda f: self._dpkg(f, "--configure", "-a"),
            see=lambda f: {p: what for p, what in snapshot(f / "host").items() if not p.startswith("var/")},
        )

    def _tree(self, version: str) -> Path:
        tree = self.folder / version
        for path, what in (PLAIN_1 if version == "one" else PLAIN_2).items():
            assert isinstance(what, File) and isinstance(what.data, str)
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(what.data)
        return tree

    def _untar(self, folder: Path, version: str) -> None:
        subprocess.run(["tar", "-C", folder / "host", "-xf", self.packed[version]], check=True)

    def _dpkg(self, folder: Path, *arguments: str) -> None:
        database = folder / "host/var/lib/dpkg"
        for name in ("info", "updates"):
            (database / name).mkdir(parents=True, exist_ok=True)
        (database / "status").touch()
        subprocess.run(
            ["dpkg", f"--root={folder / 'host'}", "--log=/dev/null", *arguments], check=True, capture_output=True
        )


def torn(seen: Seen, old: Seen, new: Seen) -> list[str]:
    """The paths that hold what neither version has: empty, short or mixed."""
    return [path for path, what in seen.items() if what not in (old.get(path), new.get(path)) and what[-1] != ""]
