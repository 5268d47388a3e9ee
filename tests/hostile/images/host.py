# SPDX-License-Identifier: Apache-2.0
"""A host with something to lose, and what it looks like after an image was tried on it."""

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from ashore.acts.change import install as stories
from ashore.cli import output
from ashore.errors import AshoreError
from ashore.nouns.digest import of
from ashore.nouns.limits import MIB
from tests.flow.machine import Machine
from tests.hostile.images.case import Case, HostileImages, OpenStore

HOSTILE, GOOD = "reg.example/bad/image:1", "reg.example/good/image:1"
MOST_MEMORY = 96 * MIB
"""By how much a refused image may raise the peak of this process."""
_STATE_WRITES = 256 * 1024

Look = dict[str, tuple[object, ...]]


class Host:
    """One root, with victims in it and beside it; hostile images are tried on it one after another."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder, HostileImages())
        self.images = self.machine.images
        assert isinstance(self.images, HostileImages)
        self.images.add(GOOD, {"srv/good": "good\n", "etc/good.conf": "good\n"})
        (folder / "victim").mkdir()
        (folder / "victim/hello").write_text("hello, world\n")
        (folder / "victim/perm400").write_text("...")
        (folder / "victim/perm400").chmod(0o400)
        self.machine.write("etc/victim", "the host's own\n", 0o640)
        self.machine.write("etc/shadow", "root:*:\n", 0o600)
        self.machine.write("srv.d/keep", "kept\n")
        (self.machine.root / "var/run").symlink_to("../run")
        (self.machine.root / "srv.abs").symlink_to("/srv.d")
        self.outside: tuple[Path, ...] = (folder / "victim",)
        """Folders that no image may reach."""
        self.machine.install(GOOD)
        self.machine.remove("image")

    def tries(self, case: Case) -> list[str]:
        """Install the image, judge it, and then a benign one; what went otherwise than `case` says."""
        assert isinstance(self.images, HostileImages)
        store = self.images.stores[HOSTILE] = OpenStore()
        case.put(store)
        before, outside = look(self.machine.root, times=True), self._outside()
        gauge = Gauge()
        error = self._install(case)
        memory, written = gauge.read()
        problems = [f"outside: {path} changed" for path in differing(outside, self._outside())]
        problems += self._refused(case, error, before) if case.code else self._landed(case, error, before)
        if error is None and case.code:
            self._empty()
        if error is not None:
            problems += [f"{memory >> 20} MiB of memory"] if memory > MOST_MEMORY else []
            most = case.most_written + _STATE_WRITES
            problems += [f"{written} bytes written, at most {most} are due"] if written > most else []
        problems += [f"left: {path}" for path in self.machine.leftovers()]
        problems += self._good()
        problems += [
            f"not as before at the end: {path}" for path in differing(untimed(before), look(self.machine.root))
        ]
        return problems

    def _outside(self) -> Look:
        return {f"{folder}/{path}": what for folder in self.outside for path, what in look(folder, times=True).items()}

    def _install(self, case: Case) -> Exception | None:
        limited = replace(self.machine.tools(), limits=case.limits)
        try:
            stories.install(limited, [self.machine.ask(HOSTILE)])
        except Exception as error:
            return error
        return None

    def _refused(self, case: Case, error: Exception | None, before: Look) -> list[str]:
        if not isinstance(error, AshoreError):
            return [f"not refused but {error!r}"]
        said = shown(error)
        problems = [f"exit {error.code}, not {case.code}: {said}"] if error.code != case.code else []
        problems += [f"changed: {path}" for path in differing(before, look(self.machine.root, times=True))]
        wanted = [case.says, case.entry, f"layer {case.layer}" if case.layer else ""]
        problems += [f"does not say {text!r}: {said}" for text in wanted if text not in said]
        problems += [f"does not name the image: {said}"] if "bad/image" not in said and "bundle" not in said else []
        problems += ["says what a terminal obeys"] if any(ord(c) < 32 and c != "\n" for c in said) else []
        return problems

    def _landed(self, case: Case, error: Exception | None, before: Look) -> list[str]:
        if error is not None:
            return [f"legal, but {type(error).__name__}: {error}"]
        before, after = untimed(before), look(self.machine.root)
        came = sorted(after.keys() - before.keys())
        problems = [f"came {came}, not {sorted(case.lands)}"] if came != sorted(case.lands) else []
        kept = {path: what for path, what in before.items() if what[0] != stat.S_IFDIR}
        problems += [f"changed: {path}" for path in kept if after.get(path) != kept[path]]
        self._empty()
        return problems

    def _empty(self) -> None:
        """Take away whatever is installed."""
        self.machine.remove(*[b.name for b in self.machine.tools().history.current().bundles])

    def _good(self) -> list[str]:
        """A benign image beside it installs, and goes without a trace."""
        try:
            self.machine.install(GOOD)
            came = self.machine.read("srv/good")
            self._empty()
        except AshoreError as error:
            return [f"a benign image: {error}"]
        return [] if came == "good\n" else ["a benign image did not come"]


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where that takes extended attributes: thousands of syncs need no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        try:
            os.setxattr(folder, "user.probe", b"x")
        except OSError:
            with tempfile.TemporaryDirectory() as slower:
                yield Path(slower)
        else:
            yield Path(folder)


class Gauge:
    """How far memory and bytes written go up, from here on."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        self._memory, self._written = _status("VmRSS:"), _io()

    def read(self) -> tuple[int, int]:
        return _status("VmHWM:") - self._memory, _io() - self._written


def look(root: Path, *, times: bool = False) -> Look:
    """Everything below `root` but ashore's state: all that lstat and readers see; times of folders if asked for."""
    found: Look = {}
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root)
        if relative == "var/lib":
            folders[:] = [name for name in folders if name != "ashore"]
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content = of(Path(path).read_bytes()) if kind == stat.S_IFREG else ""
            content = os.readlink(path) if kind == stat.S_IFLNK else content
            own = (
                (status.st_mtime_ns, status.st_ino, status.st_nlink)
                if kind != stat.S_IFDIR
                else (status.st_mtime_ns,)
                if times
                else ()
            )
            attributes = [
                (n, os.getxattr(path, n, follow_symlinks=False)) for n in os.listxattr(path, follow_symlinks=False)
            ]
            found[os.path.normpath(os.path.join(relative, name))] = (
                kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, content, *attributes, *own,
            )  # fmt: skip
    return found


def untimed(seen: Look) -> Look:
    return {path: what[:-1] if what[0] == stat.S_IFDIR else what for path, what in seen.items()}


def differing(one: Look, other: Look) -> list[str]:
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))


def shown(error: AshoreError) -> str:
    """What a user reads."""
    with contextlib.redirect_stderr(io.StringIO()) as talk:
        output.error(error)
    return talk.getvalue()


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def _io() -> int:
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("wchar:"))
