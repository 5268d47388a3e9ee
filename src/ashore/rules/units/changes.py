# SPDX-License-Identifier: Apache-2.0
"""What a plan's steps change, as far as units and the rest of the host may react to it. Pure."""

from collections.abc import Iterable

import msgspec

from ashore.nouns.files import Entry, Kind
from ashore.nouns.plan import Action, Step


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The paths that a plan touches, folders aside. `attributes` keep their content."""

    created: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    """Those whose mode, owner or xattrs change: of concern only to what a bundle says of them."""
    steps: tuple[Step, ...] = ()
    """All that they follow from, folders included."""

    @property
    def all(self) -> frozenset[str]:
        return self.created | self.replaced | self.removed | self.attributes

    @property
    def contents(self) -> frozenset[str]:
        """Without those whose content stays."""
        return self.created | self.replaced | self.removed

    @property
    def masks(self) -> frozenset[str]:
        """Paths that mask the unit whose file would lie there, from this plan on."""
        return frozenset(step.path for step in self.steps if _is_mask(step.new))

    @property
    def unmasks(self) -> frozenset[str]:
        """Paths that did so until now."""
        return frozenset(step.path for step in self.steps if _is_mask(step.old) and not _is_mask(step.new))

    def word(self, path: str) -> str:
        """What happens to `path`, for a reason."""
        return "is new" if path in self.created else "is removed" if path in self.removed else "changed"


def _is_mask(entry: Entry | None) -> bool:
    """systemd.unit(5): a symlink to /dev/null, or an empty file."""
    if entry is None or entry.kind is not Kind.SYMLINK:
        return entry is not None and entry.kind is Kind.FILE and entry.size == 0
    return f"/{entry.target}".endswith("/dev/null")


def changes_of(steps: Iterable[Step]) -> Changes:
    """What of a plan's steps can concern a unit."""
    found: dict[Action | str, set[str]] = {}
    steps = tuple(steps)
    for step in steps:
        same = step.old is not None and step.old.same_content(step.new) and step.action is not Action.CHANGE_DIR
        found.setdefault("attributes" if same else step.action, set()).add(step.path)
    return Changes(
        created=frozenset(found.get(Action.CREATE, ())),
        replaced=frozenset(found.get(Action.REPLACE, ())),
        removed=frozenset(found.get(Action.REMOVE, ())),
        attributes=frozenset(found.get("attributes", ())),
        folders=frozenset(found.get(Action.CHANGE_DIR, ())),
        steps=steps,
    )
