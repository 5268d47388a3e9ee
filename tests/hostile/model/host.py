# SPDX-License-Identifier: Apache-2.0
"""A plain model of what a bundle's paths hold on a host, through installs, removals, edits and ways back."""

import copy
from dataclasses import dataclass, field

VERSIONS = (1, 2, 3)
SHARED = ("etc/app/a.conf", "etc/app/b.conf", "opt/app/program")
OWN = {1: "opt/app/only-1", 2: "opt/app/sub/only-2", 3: "etc/app/only-3"}
EVERY = (*SHARED, *OWN.values())


def shipped(version: int) -> dict[str, str]:
    """What a version of the bundle holds."""
    return {path: f"{path} of {version}\n" for path in (*SHARED, OWN[version])}


@dataclass
class Past:
    """A state that one can go back to: a version, or nothing; and the edits that lay there when it was removed."""

    version: int | None
    edits: dict[str, str] = field(default_factory=dict)


@dataclass
class Model:
    """`past` ends with what holds now. `local` is what an administrator did: a path's text, or None for deleted."""

    past: list[Past] = field(default_factory=list)
    local: dict[str, str | None] = field(default_factory=dict)

    @property
    def version(self) -> int | None:
        return self.past[-1].version if self.past else None

    def tree(self) -> dict[str, str]:
        """What the bundle's paths hold."""
        if self.version is None:
            return {}
        there = {**shipped(self.version), **self.local}
        return {path: text for path, text in there.items() if text is not None}

    def after(self, verb: str, version: int = 0) -> "Model | None":
        """The model after a command that recorded something; None where it has to be refused."""
        new = copy.deepcopy(self)
        match verb:
            case "install":
                new.past.append(Past(version))
            case "remove" if self.version is not None:
                new._leave()
                new.past.append(Past(None))
            case "rollback" if len(self.past) > 1:
                if self.past[-2].version is None and self.version is not None:
                    new._leave()
                gone = new.past.pop()
                if gone.version is None and new.version is not None:
                    new.local = dict(new.past[-1].edits)
            case _:
                return None
        return new

    def _leave(self) -> None:
        """All of the bundle goes: edits are moved aside, deletions are forgotten."""
        self.past[-1].edits = {path: text for path, text in self.local.items() if text is not None}
        self.local = {}
