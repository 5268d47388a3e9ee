# SPDX-License-Identifier: Apache-2.0
"""A host and its model, driven by the same commands: they must never say different things."""

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ashore.acts.change.pending import settle
from ashore.acts.transaction.collect import collect
from ashore.acts.transaction.recover import recover
from ashore.errors import UsageError
from ashore.nouns.digest import of
from ashore.nouns.files import Decided
from tests.flow.machine import Machine
from tests.flow.test_kill import in_child
from tests.hostile.model.host import EVERY, OWN, SHARED, VERSIONS, Lines, Model, shipped, text

NAME = "reg.example/app"
COMMANDS = st.one_of(
    st.tuples(st.just("install"), st.sampled_from(VERSIONS)),
    st.tuples(st.sampled_from(["rollback", "remove", "take", "keep"]), st.just(0)),
)


class Diverging(RuleBasedStateMachine):
    """What a sequence of commands, edits, kills and damage leaves is what the model says."""

    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.folder = tempfile.TemporaryDirectory(dir=base)
        self.machine = Machine(Path(self.folder.name))
        for version in VERSIONS:
            self.machine.images.add(
                f"{NAME}:{version}", {path: text(lines) for path, lines in shipped(version).items()}
            )
        self.machine.write("etc/ashore/config.toml", "keep = 1000\n")
        self.machine.write("etc/own", "the host's own\n")
        self.others = self._others()
        self.model = Model()
        self.edits = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(command=COMMANDS)
    def command(self, command: tuple[str, int]) -> None:
        """Carried out in peace."""
        expected = self.model.after(*command)
        number = self._number()
        try:
            self._run(command)
        except UsageError:
            assert expected is None
            return
        assert expected is not None
        if self._number() != number:
            self.model = expected

    @rule(command=COMMANDS, at=st.integers(0, 90))
    def killed(self, command: tuple[str, int], at: int) -> None:
        """Killed before its call number `at`; the next run recovers."""
        expected = self.model.after(*command)
        if expected is None:
            return
        number = self._number()
        in_child(lambda machine: self._run(command), self.machine, at)
        tools = self.machine.tools()
        with tools.state.locked():
            recover(tools)
        if self._number() != number:
            self.model = expected

    @precondition(lambda self: self.model.version is not None)
    @rule(path=st.sampled_from(SHARED), line=st.integers(0, 2))
    def edited(self, path: str, line: int) -> None:
        """Somebody writes their own text into a line of a file, or the file again that was deleted."""
        self.edits += 1
        state = self.model.paths[path]
        lines = list(state.lies or state.base)
        lines[line] = f"edit {self.edits}"
        self._write(path, (lines[0], lines[1], lines[2]))

    @precondition(lambda self: self.model.version is not None)
    @rule(path=st.sampled_from(SHARED), which=st.sampled_from(["version", "base"]))
    def put_right(self, path: str, which: str) -> None:
        """Somebody takes the edit out by hand, or the version that waits in."""
        self._write(path, getattr(self.model.paths[path], which))

    @precondition(lambda self: self.model.version is not None)
    @rule(path=st.sampled_from(SHARED))
    def deleted(self, path: str) -> None:
        """Somebody deletes a file."""
        self.model.paths[path].lies = None
        with contextlib.suppress(FileNotFoundError):
            (self.machine.root / path).unlink()

    @rule(number=st.integers(0, 50))
    def corrupted(self, number: int) -> None:
        """A content in the store that can be fetched again goes bad; without its base an edit would not be merged."""
        bases = [state.base for state in self.model.paths.values()]
        every = [lines for version in VERSIONS for lines in shipped(version).values() if lines not in bases]
        texts = {of(text(lines).encode()).partition(":")[2] for lines in every}
        store = self.machine.root / "var/lib/ashore/content"
        found = sorted(path for path in store.rglob("*") if path.name in texts)
        if found:
            victim = found[number % len(found)]
            data = bytearray(victim.read_bytes())
            data[number % len(data)] ^= 1
            victim.write_bytes(data)

    @rule()
    def collected(self) -> None:
        """What nobody needs goes."""
        tools = self.machine.tools()
        if tools.state.fd is not None:
            with tools.state.locked():
                collect(tools)

    @rule()
    def pruned(self) -> None:
        """All that one could go back to goes."""
        tools = self.machine.tools()
        if tools.state.fd is not None:
            with tools.state.locked():
                collect(tools, keep=1, discard_edits=True)
            self.model.past = self.model.past[-1:]
            self.model.stored.clear()

    @invariant()
    def as_the_model_says(self) -> None:
        """The bundle's paths, what waits, everything else, and nothing left over."""
        found = {path: self.machine.read(path) for path in EVERY if self.machine.exists(path)}
        assert found == self.model.tree()
        current = self.machine.tools().history.current()
        assert {path for path, record in current.files.items() if record.pending} == self.model.pending()
        assert self._others() == self.others
        assert self.machine.leftovers() == []

    def _run(self, command: tuple[str, int]) -> None:
        match command:
            case ("install", version):
                self.machine.install(f"{NAME}:{version}")
            case ("rollback", _):
                self.machine.roll_back()
            case ("take" | "keep" as decided, _):
                tools = self.machine.tools()
                waiting = [path for path, record in tools.history.current().files.items() if record.pending]
                if not waiting:
                    raise UsageError("nothing waits")
                settle(tools, waiting, Decided(decided))
            case _:
                self.machine.remove("app")

    def _write(self, path: str, lines: Lines) -> None:
        self.model.paths[path].lies = lines
        self.machine.write(path, text(lines))

    def _number(self) -> int:
        return self.machine.tools().history.current().number

    def _others(self) -> dict[str, object]:
        ours = {*EVERY, *(str(Path(path).parent) for path in EVERY), "opt/app", "etc/app"}
        return {path: what for path, what in self.machine.tree().items() if path not in ours}


assert set(OWN) == set(VERSIONS)
