# SPDX-License-Identifier: Apache-2.0
"""Facts and values as templates see them: views that note what was read, so that a record can name it. No I/O."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ashore.nouns.facts import Facts
from ashore.nouns.files import printable
from ashore.rules.bundles.values import Deferred, Values, how_to_set, not_set

Path = tuple[str, ...]
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
_DOTTED = re.compile(r'"([^"]*)"|([^.]+)')
_WORD = re.compile(r"\w+")
_SHOWN = 12
MISSING = object()
"""What a lookup gives that finds nothing."""


class Failed(msgspec.Struct, frozen=True):
    """A value whose default could not be rendered, and why."""

    why: str


class Unusable(Exception):  # noqa: N818 - it never leaves the rules: render makes an Issue of it
    """A value was used whose default could not be rendered."""


class Reads:
    """What one template read."""

    def __init__(self) -> None:
        self.facts: set[Path] = set()
        self.values: set[Path] = set()
        self.secrets: set[str] = set()

    def add(self, other: "Reads") -> None:
        self.facts |= other.facts
        self.values |= other.values
        self.secrets |= other.secrets


class Scope:
    """All that the templates of one bundle can name on one host."""

    def __init__(self, facts: Facts, values: Values, render_default: Callable[[Deferred, str], object]) -> None:
        self.values = values
        self.reads = Reads()
        self.source = ""
        """The template that is being rendered; empty where names cannot be computed."""
        self._words: tuple[str, frozenset[str]] = ("", frozenset())
        self._render_default = render_default
        self._rendered: dict[Path, tuple[object, Reads]] = {}
        self._rendering: list[Path] = []
        known = plain_facts(facts)
        assert isinstance(known, Mapping)
        self.facts_view = View(self, "facts", (), known)
        self.values_view = View(self, "values", (), values.tree)

    def note(self, kind: str, path: Path) -> None:
        """A template read `path`, or all below it."""
        if kind == "values":
            self.reads.secrets |= self.values.secrets & set(path[:1] or self.values.tree)
        told = tuple(itertools.takewhile(self.tells, path))
        (self.reads.facts if kind == "facts" else self.reads.values).add(told)

    def tells(self, name: object) -> bool:
        """Whether a record or message may have `name`. One that was computed may be part of a secret that was read."""
        if not self.reads.secrets or not self.source:
            return True
        if self._words[0] is not self.source:
            self._words = (self.source, frozenset(_WORD.findall(self.source)))
        text = str(name)
        return text in self.source and self._words[1].issuperset(_WORD.findall(text))

    def seen(self, kind: str, path: Path, value: object) -> object:
        """`value` as a template gets it: tables as views, defaults rendered."""
        match value:
            case Mapping():
                return View(self, kind, path, value)
            case Deferred():
                self.note(kind, path)
                return self._default(path, value)
            case list() | tuple():
                self.note(kind, path)
                items = [self.plain(kind, (*path, str(number)), item) for number, item in enumerate(value)]
                return next(_failures(items), items)
            case _:
                self.note(kind, path)
                return value

    def plain(self, kind: str, path: Path, value: object) -> object:
        """`value` with no view and no unrendered default in it."""
        if isinstance(value, Mapping):
            return {name: self.plain(kind, (*path, name), item) for name, item in value.items()}
        return self.seen(kind, path, value)

    def _default(self, path: Path, value: Deferred) -> object:
        if path in self._rendering:
            round_trip = " -> ".join(dotted(p) for p in (*self._rendering[self._rendering.index(path) :], path))
            return Failed(f"its default needs itself ({round_trip})")
        if path not in self._rendered:
            outer, self.reads = self.reads, Reads()
            self._rendering.append(path)
            try:
                self._rendered[path] = (self._render_default(value, f"values.{dotted(path)}"), self.reads)
            finally:
                self._rendering.pop()
                self.reads = outer
        rendered, reads = self._rendered[path]
        self.reads.add(reads)
        return rendered


class View(Mapping[str, object]):
    """A table of facts or values; reading from it is noted."""

    def __init__(self, scope: Scope, kind: str, path: Path, data: Mapping[str, object]) -> None:
        self.scope = scope
        self.kind = kind
        self.path = path
        self.data = data

    def fetch(self, name: object) -> object:
        """The item `name`, or MISSING; that it was looked for is noted either way."""
        if not isinstance(name, str) or name not in self.data:
            self.scope.note(self.kind, (*self.path, str(name)))
            return MISSING
        return self.scope.seen(self.kind, (*self.path, name), self.data[name])

    def why_missing(self, name: object) -> str:
        """What to tell about a name that is not here."""
        if self.kind == "values" and not self.path and name in self.scope.values.unset:
            text = str(name)
            remedy = how_to_set(text, secret=text in self.scope.values.secrets)
            return f"{not_set(text, self.scope.values.unset[text])} ({remedy})"
        full = f"{self.kind}.{dotted((*self.path, str(name)))}"
        of_secret = self.kind == "values" and not self.scope.values.secrets.isdisjoint(self.path[:1])
        names = [] if of_secret else sorted(self.data)
        there = ", ".join(printable(n) for n in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        if self.kind == "facts":
            return f"{full} is unknown on this host" + (f" (it has: {there})" if there else "")
        return f"{full} is not set and has no default" + (f" (set are: {there})" if there else "")

    def whole(self) -> dict[str, object]:
        """All of it, as plain data.

        Raises:
            Unusable: a default in it could not be rendered.
        """
        self.scope.note(self.kind, self.path)
        plain = self.scope.plain(self.kind, self.path, self.data)
        if failed := next(_failures(plain), None):
            raise Unusable(failed.why)
        assert isinstance(plain, dict)
        return plain

    def __getitem__(self, name: str) -> object:
        found = self.fetch(name)
        if found is MISSING:
            raise KeyError(name)
        if isinstance(found, Failed):  # a loop over items() or values() comes by here
            told = (name,) if self.scope.tells(name) else ()
            raise Unusable(f"{self.kind}.{dotted((*self.path, *told))}: {found.why}")
        return found

    def __contains__(self, name: object) -> bool:
        self.scope.note(self.kind, (*self.path, str(name)))
        return name in self.data

    def __iter__(self) -> Iterator[str]:
        self.scope.note(self.kind, self.path)
        return iter(self.data)

    def __len__(self) -> int:
        self.scope.note(self.kind, self.path)
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return self.whole() == (other.whole() if isinstance(other, View) else other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return str(self.whole())

    __repr__ = __str__
    """How it stands in a list: nothing of an object that differs from process to process."""


def _failures(value: object) -> Iterator[Failed]:
    if isinstance(value, Failed):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _failures(item)


def dotted(path: Path) -> str:
    """A path as it is written: ``network.interfaces."eth0.100".ipv4``; ``.`` is all of it."""
    return ".".join(part if _PLAIN_NAME.fullmatch(part) else f'"{printable(part)}"' for part in path) or "."


def undotted(text: str) -> Path:
    """What `dotted` wrote, as a path again: ``network.interfaces."eth0.100"``."""
    return tuple(quoted or bare for quoted, bare in _DOTTED.findall(text))


def plain_facts(value: object) -> object:
    """Facts as tables and lists, without what is unknown."""
    if isinstance(value, msgspec.Struct):
        fields: dict[str, Any] = msgspec.structs.asdict(value)
        return {name: plain_facts(item) for name, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(name): plain_facts(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_facts(item) for item in value]
    return value


def as_text(value: object) -> str:
    """A value as files hold it: TOML's words for truth, not Python's."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
