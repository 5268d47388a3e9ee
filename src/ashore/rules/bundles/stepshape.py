# SPDX-License-Identifier: Apache-2.0
"""[[step]] of a `bundle.toml`, as it is read and as its schema tells. No I/O."""

from typing import Any, cast

from ashore.nouns.bundle import BundleStep, Phase
from ashore.nouns.shape import BAD, At, Field, ListOf, Name, OneOf, Schema, Seconds, Table, Text, Unit


class Command:
    """A program and its arguments, of which some may be empty."""

    words = ListOf(Text(), least=1)

    def read(self, value: object, at: At) -> object:
        read = self.words.read(value, at)
        if isinstance(read, tuple) and not read[0]:
            return at.below(0).problem(f"{at}[1] is empty", "the first word names the program")
        return read

    def schema(self) -> Schema:
        return self.words.schema() | {"prefixItems": [Text(least=1).schema()]}


_TABLE = Table(
    {
        "name": Field(Name(), "what it is called, here and in the plan", required=True),
        "phase": Field(OneOf(Phase), "before files change, after everything is healthy, or undo", required=True),
        "command": Field(Command(), "the program and its arguments; no shell", required=True),
        "reason": Field(Text(200, least=1), "why it is needed: the plan shows it", required=True),
        "within": Field(Seconds(), "how long it may take; 60s if not said"),
        "units": Field(ListOf(Unit()), "run it only where the plan acts on one of these units"),
    }
)


class _Step:
    """One of them: a named command of one phase."""

    def read(self, value: object, at: At) -> object:
        read = _TABLE.read(value, at)
        complete = isinstance(read, dict) and {"name", "phase", "command", "reason"} <= read.keys()
        return BundleStep(**cast("dict[str, Any]", read)) if complete else BAD

    def schema(self) -> Schema:
        return _TABLE.schema()


class Steps:
    """All of them: each name once in a phase, and nothing to undo that was never done."""

    every = ListOf(_Step())

    def read(self, value: object, at: At) -> object:
        read = self.every.read(value, at)
        if not isinstance(read, tuple):
            return read
        begun = {step.name for step in read if step.phase is Phase.BEFORE}
        seen: set[tuple[str, Phase]] = set()
        for number, step in enumerate(read):
            if (step.name, step.phase) in seen:
                at.below(number).problem(f"there are two steps {step.name} in the phase {step.phase}", "rename one")
            if step.phase is Phase.UNDO and step.name not in begun:
                remedy = "it undoes the step of its name in the phase before"
                at.below(number).problem(f"the step {step.name} undoes what no step does", remedy)
            seen.add((step.name, step.phase))
        return read

    def schema(self) -> Schema:
        return self.every.schema()
