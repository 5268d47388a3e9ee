# SPDX-License-Identifier: Apache-2.0
"""The recorded generations, the pointer to the current one, held digests, and the audit log."""

import os
import re
from collections.abc import Iterator, Mapping

import msgspec

from ashore.errors import ChangedError, words_of
from ashore.mechanisms import durable
from ashore.mechanisms.descriptors import closing
from ashore.mechanisms.state.state import State
from ashore.nouns.confirm import Provisional
from ashore.nouns.generation import EMPTY, FileRecord, Generation
from ashore.nouns.journal import Due, Edit, Held
from ashore.nouns.surrogates import told

_LIMIT = 1 << 30
_NAME = re.compile(r"(\d{6,})\.json")
_TAIL = 1 << 20
_NUMBER = 4096
"""Bytes: far more than a number has."""
_HELD, _EDITS, _DISCARDED = "held.json", "edits.json", "discarded.json"
_DUE, _PROVISIONAL = "due.json", "provisional.json"
_TOLD = re.compile(rb'"generation":[1-9]')
"""How the audit log speaks of a generation that came to be; a first one that failed is 0."""


class History:
    """What `State` holds of the past. Reading never creates anything."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._read: dict[int, Generation] = {}

    def numbers(self) -> list[int]:
        """The recorded generations, oldest first."""
        return sorted(int(m[1]) for m in map(_NAME.fullmatch, self._names()) if m)

    def current(self) -> Generation:
        """The generation that holds; `EMPTY` on a host that ashore never touched.

        Raises:
            ChangedError: the record is damaged, or there are signs of one and it is gone.
        """
        number = self.current_number()
        while True:
            try:
                return self._at(number)
            except ChangedError:
                before, number = number, self.current_number()
                if number == before:
                    raise  # Otherwise another ashore, whose lock who only asks does not hold, has gone on since.

    def _at(self, number: int | None) -> Generation:
        if number is not None:
            return self.read(number) if number else EMPTY
        if self.numbers():
            raise durable.damaged("current", "there are generations, but nothing says which one holds")
        if self._told_of_any():
            raise durable.damaged("current", "the audit log tells of generations, and they are gone")
        return EMPTY

    def check(self) -> None:
        """Read all there is, so that damage is found before anything changes.

        Raises:
            ChangedError: something is damaged.
        """
        for _ in self.all():
            pass
        self.held()
        self.edits()
        self.discarded()
        self.due()
        self.provisional()

    def current_number(self) -> int | None:
        """The pointer; None where there is none."""
        return self.state.read("current", int, _NUMBER)

    def read(self, number: int) -> Generation:
        """A generation.

        Raises:
            ChangedError: it is missing or damaged.
        """
        if number in self._read:
            return self._read[number]  # A generation is never changed.
        name = f"generations/{number:06}.json"
        if self.state.fd is None:
            raise durable.damaged(name, "it is missing")
        try:
            data = durable.read_all(self.state.fd, name, _LIMIT)
        except OSError as error:
            raise durable.damaged(name, words_of(error)) from error
        generation = durable.unseal(data, Generation, name)
        if self._read:
            generation = _sharing(generation, self._read[max(self._read)])
        self._read[number] = generation
        return generation

    def all(self) -> Iterator[Generation]:
        """Every recorded generation, oldest first. One that another ashore drops meanwhile is none."""
        for number in self.numbers():
            try:
                generation = self.read(number)
            except ChangedError:
                if number in self.numbers():
                    raise
            else:
                yield generation

    def write(self, generation: Generation) -> None:
        """Store a generation, not yet the current one."""
        with closing(self.state.folder("generations")) as folder:
            durable.replace(folder, f"{generation.number:06}.json", durable.seal(generation))
            self._read[generation.number] = generation

    def drop(self, number: int) -> None:
        """Forget a generation."""
        with closing(self.state.folder("generations")) as folder:
            durable.remove(folder, f"{number:06}.json")
            self._read.pop(number, None)

    def point(self, number: int) -> None:
        """Make `number` the current generation: the last durable act of a transaction."""
        self.state.write("current", number)

    def held(self) -> Mapping[str, Held]:
        """Digests that failed or were rolled back."""
        return self.state.read(_HELD, dict[str, Held]) or {}

    def hold(self, held: Mapping[str, Held]) -> None:
        self.state.write(_HELD, dict(held))

    def provisional(self) -> Provisional | None:
        """What waits for confirmation; None if nothing does."""
        return self.state.read(_PROVISIONAL, Provisional)

    def await_confirmation(self, provisional: Provisional | None) -> None:
        """Record what waits for confirmation from now on, None that nothing does."""
        self.state.write(_PROVISIONAL, provisional)

    def edits(self) -> tuple[Edit, ...]:
        """Administrators' edits of collected generations: in the store until they are discarded."""
        return tuple((self.state.read(_EDITS, dict[str, Edit]) or {}).values())

    def keep_edits(self, edits: tuple[Edit, ...]) -> None:
        self.state.write(_EDITS, {edit.key: edit for edit in edits})

    def due(self) -> tuple[Due, ...]:
        """Commands that wait for a booted host, in order."""
        return self.state.read(_DUE, tuple[Due, ...]) or ()

    def set_due(self, due: tuple[Due, ...]) -> None:
        self.state.write(_DUE, due or None)

    def discarded(self) -> int:
        """Edits of generations up to this number were given up: nobody gets them back, and nobody is told of them."""
        return self.state.read(_DISCARDED, int, _NUMBER) or 0

    def discard_edits(self, number: int) -> None:
        """Give up the edits of all generations up to `number`."""
        self.state.write(_DISCARDED, number)

    def audit(self, line: Mapping[str, object]) -> None:
        """Append to the audit log, once a transaction: a line that is there already is not written again."""
        data = told(line) + b"\n"
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with closing(os.open("audit.jsonl", flags, 0o600, dir_fd=self.state.prepare())) as descriptor:
            end = os.fstat(descriptor).st_size
            tail = os.pread(descriptor, _TAIL, max(0, end - _TAIL))
            if data in tail:
                return
            # A torn last line, from a crash, must not swallow this one.
            durable.write_all(descriptor, data if not tail or tail.endswith(b"\n") else b"\n" + data)
            os.fsync(descriptor)

    def _told_of_any(self) -> bool:
        if self.state.fd is None:
            return False
        try:
            data = durable.read_all(self.state.fd, "audit.jsonl", _LIMIT)
        except FileNotFoundError:
            return False
        return _TOLD.search(data) is not None

    def _names(self) -> list[str]:
        if self.state.fd is None:
            return []
        try:
            folder = os.open("generations", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.state.fd)
        except FileNotFoundError:
            return []
        with closing(folder):
            return os.listdir(folder)


def _sharing(generation: Generation, other: Generation) -> Generation:
    """`generation`, with the records that it has in common with `other` in memory once: nearly all of them."""
    known = {item[0]: item for item in other.files.items()}
    files: dict[str, FileRecord] = {}
    for path, record in generation.files.items():
        path, before = known.get(path, (path, record))
        files[path] = before if before == record else record
    return msgspec.structs.replace(generation, files=files)
