# SPDX-License-Identifier: Apache-2.0
"""A plain model of what a bundle's paths hold on a host, through installs, removals, edits and ways back.

A file is three lines that lie apart, so that a merge is simple to say: line by line, whoever changed it has it, and
where both did nobody has.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

Lines = tuple[str, str, str]

VERSIONS = (1, 2, 3)
SHARED = ("etc/app/a.conf", "etc/app/b.conf", "opt/app/program")
OWN = {1: "opt/app/only-1", 2: "opt/app/sub/only-2", 3: "etc/app/only-3"}
EVERY = (*SHARED, *OWN.values())
_CHANGES = {1: ("1", "1", "1"), 2: ("2", "1", "1"), 3: ("2", "3", "1")}
"""Version 2 changes the first line of version 1, and 3 the second of version 2."""


def shipped(version: int) -> dict[str, Lines]:
    """What a version of the bundle holds."""
    first, second, third = _CHANGES[version]
    return {path: (f"{path} {first}", second, third) for path in (*SHARED, OWN[version])}


def text(lines: Lines) -> str:
    return "\n--\n".join(lines) + "\n"


def merge(base: Lines, ours: Lines, theirs: Lines) -> Lines | None:
    """Both changes; None where they are of one line."""
    result = [o if t in (b, o) else t if o == b else None for b, o, t in zip(base, ours, theirs, strict=True)]
    return None if None in result else (result[0] or "", result[1] or "", result[2] or "")


@dataclass
class Path:
    """`version` is what the bundle wants, `base` what an edit is one of, `laid` what ashore left there, if anything."""

    version: Lines
    base: Lines
    laid: Lines | None
    lies: Lines | None

    @property
    def pending(self) -> bool:
        return self.version != self.base

    @property
    def by_hand(self) -> bool:
        return self.lies is not None and self.lies != self.laid

    def kept(self, version: Lines, base: Lines) -> "Path":
        """What lies there stays; an edit that ashore did not lay there itself is from now on one of `base`."""
        return Path(version, base, None if self.lies is None else base if self.by_hand else self.laid, self.lies)

    def brought(
        self, version: Lines, *, merges: bool, edit: Lines | None = None, edit_of: Lines | None = None
    ) -> "Path":
        """With a new version there, or with an `edit` of an old one that comes back: as an upgrade or rollback does."""
        aim, base, then = edit or version, (edit and self.laid) or self.base, (edit and edit_of) or version
        if self.lies is None:
            return self.kept(version, self.base)
        if self.lies in (aim, base) or (edit is None and self.lies == self.version):
            return Path(version, then, aim, aim)
        if version == self.base and edit is None:
            return self.kept(version, edit_of or version)
        both = merge(base, self.lies, aim) if merges else None
        if both is None:
            return self.kept(version, self.base)
        if both == self.lies:
            return self.kept(version, version)
        return Path(version, version if both == version else then, both, both)


Paths = dict[str, Path]


@dataclass
class Past:
    """A generation that one can go back to: its paths, and what lay there when the next one came."""

    version: int | None
    paths: Paths = field(default_factory=dict)
    left: dict[str, Lines | None] = field(default_factory=dict)


@dataclass
class Model:
    """`past` ends with what holds now. `stored` are the edits that were moved aside, and not discarded."""

    past: list[Past] = field(default_factory=list)
    stored: set[Lines] = field(default_factory=set)

    @property
    def version(self) -> int | None:
        return self.past[-1].version if self.past else None

    @property
    def paths(self) -> Paths:
        return self.past[-1].paths if self.past else {}

    def tree(self) -> dict[str, str]:
        """What the bundle's paths hold."""
        return {path: text(state.lies) for path, state in self.paths.items() if state.lies is not None}

    def pending(self) -> set[str]:
        """The paths whose new version waits."""
        return {path for path, state in self.paths.items() if state.pending}

    def after(self, verb: str, version: int = 0) -> "Model | None":
        """The model after a command that recorded something; None where it has to be refused."""
        new = copy.deepcopy(self)
        match verb:
            case "install":
                new._go(version, {path: new._new(path, lines) for path, lines in shipped(version).items()})
            case "remove" if self.version is not None:
                new._go(None, {})
            case "rollback" if len(self.past) > 1:
                new._back()
            case "take" if self.pending():
                new._decide(lambda s: Path(s.version, s.version, s.version, s.version))
            case "keep" if self.pending():
                new._decide(lambda s: s.kept(s.version, s.version))
            case _:
                return None
        return new

    def _new(self, path: str, lines: Lines) -> Path:
        old = self.paths.get(path)
        return old.brought(lines, merges=path.startswith("etc/")) if old else Path(lines, lines, lines, lines)

    def _go(self, version: int | None, paths: Paths) -> None:
        if self.past:
            self._leave(paths)
        self.past.append(Past(version, paths))

    def _decide(self, how: Callable[[Path], Path]) -> None:
        self._go(self.version, {p: how(s) if s.pending else self._new(p, s.version) for p, s in self.paths.items()})

    def _back(self) -> None:
        target = self.past[-2]
        known = {state.laid for past in self.past for state in past.paths.values()} | self.stored
        known |= {state.lies for state in self.paths.values()}
        paths: Paths = {}
        for path, old in target.paths.items():
            left, now = target.left[path], self.paths.get(path)
            if left is None and (now is None or now.lies is None or not now.by_hand):
                paths[path] = Path(old.version, old.base, None, None)
            else:
                paths[path] = self._restored(path, old, left if left in known and left != old.version else None)
        self._leave(paths)
        self.past[-2:] = [Past(target.version, paths)]

    def _restored(self, path: str, old: Path, edit: Lines | None) -> Path:
        now = self.paths.get(path)
        if now is not None:
            return now.brought(old.version, merges=path.startswith("etc/"), edit=edit, edit_of=old.base)
        return Path(old.version, old.base if edit else old.version, edit or old.version, edit or old.version)

    def _leave(self, then: Paths) -> None:
        """What somebody wrote, and what now goes, is moved aside."""
        last = self.past[-1]
        last.left = {path: state.lies for path, state in last.paths.items()}
        for path, state in last.paths.items():
            stays = then[path].lies if path in then else None
            edit = state.by_hand or (path not in then and state.lies != state.base)
            if edit and stays != state.lies and state.lies is not None:
                self.stored.add(state.lies)
