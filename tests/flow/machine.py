# SPDX-License-Identifier: Apache-2.0
"""A host in a temporary folder, for the stories: real files, images in memory, a table of units."""

import hashlib
import os
import shutil
import stat
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ashore.acts.change import install as stories
from ashore.acts.change.asking import unchanged, upgrades
from ashore.acts.change.outcome import Outcome
from ashore.acts.tools import Tools, open_root
from ashore.cli.progress import Quiet
from ashore.mechanisms.attributes import stat_of
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.images.cache import Cache
from ashore.mechanisms.state.state import State
from ashore.nouns import reference
from ashore.nouns.ask import Ask
from ashore.nouns.confirm import Asked
from ashore.nouns.facts import Facts, Interface, Network
from ashore.nouns.files import Stat, parent
from ashore.nouns.generation import Verb
from ashore.nouns.ports import Systemd
from ashore.rules.provision.hostunits import RECOVER_LINK, RECOVER_PATH
from tests.fakes.bundles import FakeImages
from tests.fakes.processes import FakeProcesses
from tests.fakes.programs import FakePrograms

FACTS = Facts(
    hostname="node-1",
    architecture="amd64",
    network=Network(
        interfaces={"eth0": Interface(name="eth0", ipv4="10.0.0.5")}, default=Interface(name="eth0", ipv4="10.0.0.5")
    ),
)


_OPENED: deque[tuple[Beneath, State, Cache]] = deque()
"""What the tools of all machines hold open; thousands of tests in one process would run out of descriptors."""
_MOST_OPENED = 16
"""A test that sweeps over every call of a story opens thousands, and never looks back so far."""


def close_all(but: int = 0) -> None:
    """Give back what the test that just ended held open, or all `but` so many that were opened last."""
    while len(_OPENED) > but:
        for opened in _OPENED.popleft():
            opened.close()


class Machine:
    """One host: `root` is its tree, `images` what registries have."""

    def __init__(self, folder: Path, images: FakeImages | None = None, systemd: Systemd | None = None) -> None:
        self.root = folder / "host"
        for path in ("etc/systemd/system", "usr/lib/systemd/system", "var/lib", "opt", "run"):
            (self.root / path).mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cache = Cache(str(folder / "cache"))
        self.images = images or FakeImages()
        self.systemd = systemd
        self.processes = FakeProcesses()
        self.programs = FakePrograms(self.root)
        self.facts = FACTS
        self.seconds = 0.0
        self.boot = "boot-1"

    def copied(self, folder: Path) -> "Machine":
        """It once more in another folder, with the same images and PID 1, at the same time."""
        shutil.copytree(self.root, folder / "host", symlinks=True)
        made = Machine(folder, self.images, self.systemd)
        made.seconds = self.seconds
        return made

    def tools(self) -> Tools:
        """Opened afresh, as each command does."""
        host, state, history, content = open_root(str(self.root))
        self.cache.close()  # the command before has ended
        self.cache = Cache(str(self.folder / "cache"))
        _OPENED.append((host, state, self.cache))
        close_all(but=_MOST_OPENED)
        return Tools(
            host=host,
            state=state,
            history=history,
            content=content,
            cache=self.cache,
            progress=Quiet(),
            open_image=self.images.open,
            facts=lambda: self.facts,
            systemd=self.systemd,
            processes=self.processes if self.systemd is not None else None,
            programs=self.programs,
            boot=self.boot if self.systemd is not None else "",
            now=lambda: "2026-01-01T00:00:00Z",
            clock=lambda: self.seconds,
            uptime=lambda: self.seconds,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        """Waiting for health takes no time here."""
        self.seconds += seconds

    def ask(self, name: str, **given: object) -> Ask:
        return msgspec.structs.replace(Ask(reference=reference.parse(name)), **given)

    def install(self, *names: str, adopt_all: bool = False, confirm: float | None = None, **given: object) -> Outcome:
        asks = [self.ask(name, **given) for name in names]
        tools = self.tools()
        asked = Asked(seconds=confirm)
        return unchanged(tools, asks) or stories.install(tools, asks, adopt_all=adopt_all, confirm=asked)

    def upgrade(self, *names: str, **given: object) -> Outcome:
        tools = self.tools()
        empty = msgspec.structs.replace(Ask(reference=reference.parse("none/none")), **given)
        asks = upgrades(tools.history.current(), names, empty)
        return unchanged(tools, asks) or stories.install(tools, asks, Verb.UPGRADE)

    def remove(self, *names: str) -> Outcome:
        return stories.remove(self.tools(), names)

    def roll_back(self, to: int | None = None, bundle: str = "") -> Outcome:
        return stories.roll_back(self.tools(), to=to, bundle=bundle)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert target.resolve().is_relative_to(self.root.resolve()), (
            f"{path} leads to this machine's {target.resolve()}"
        )
        target.write_text(text)
        target.chmod(mode)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def marks(self, path: str) -> Stat:
        """Equal marks: nobody wrote it."""
        return stat_of(os.lstat(self.root / path))

    def empty_run(self) -> None:
        """What a boot does to the tmpfs."""
        shutil.rmtree(self.root / "run")
        (self.root / "run").mkdir()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def tree(self) -> Mapping[str, tuple[object, ...]]:
        """Everything below the root but ashore's own state, and the unit that recovers it, which stays with it."""
        found = snapshot(self.root)
        for path in (RECOVER_PATH, RECOVER_LINK):
            found.pop(path, None)
        if not any(path.startswith(f"{parent(RECOVER_LINK)}/") for path in found):
            found.pop(parent(RECOVER_LINK), None)
        return found

    def leftovers(self) -> list[str]:
        """What a transaction should not leave behind."""
        found = [str(p.relative_to(self.root)) for p in self.root.rglob(".ashore")]
        state = self.root / "var/lib/ashore"
        for name in ("journal", "journal.done"):
            found += [name] if (state / name).exists() else []
        found += [str(p) for p in (state / "stage").glob("*")]
        found += [str(p) for p in state.rglob("*.new")]
        return found


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Path -> all that a reader could see of it. Times and inodes are left out."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root)
        if relative == "var/lib":
            folders[:] = [f for f in folders if f != "ashore"]
        if relative == "run":  # a tmpfs: what is there ends with the boot
            folders[:] = [f for f in folders if f != "ashore"]
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: object = ""
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            xattrs = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
            key = os.path.normpath(os.path.join(relative, name))
            found[key] = (
                stat.S_IFMT(status.st_mode),
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                str(xattrs),
                content,
            )
    return found
