# SPDX-License-Identifier: Apache-2.0
"""What the kinds of triggers share while they are planned: what is known, and what the record will hold. Pure."""

from collections.abc import Iterable, Sequence

from ashore.nouns.triggers import Command, Setting, Trigger, Undo, When
from ashore.rules.triggers.ground import Ground
from ashore.rules.triggers.kinds import Kind, by_kind, kind_of


class Draft:
    """One plan's triggers. `gone` are recorded paths that leave the record, `settings` what the record will hold."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.changes = ground, ground.changes
        self.kinds = by_kind(ground.changes.contents)
        self.gone = set(ground.changes.removed)
        self.settings = dict(ground.settings)
        self.notes: list[str] = []
        self.reboot: list[str] = []

    def trigger(
        self,
        kind: Kind,
        program: str,
        reason: str,
        undo: Undo,
        *,
        offline: When = When.BOOT,
        when: When | None = None,
        run: Sequence[Command] = (),
        back: Sequence[Command] = (),
        makes: Iterable[str] = (),
        clears: Iterable[str] = (),
        sets: Iterable[Setting] = (),
        before: Iterable[Setting] = (),
        effects: Iterable[str] = (),
    ) -> Trigger:
        """A trigger that runs `program`, which its commands do not name; one that the host lacks runs never.

        `when` is what holds on any host; where that is not said: after the swap, or `offline` on an offline root.
        """
        when = when or (When.AFTER if self.ground.live else offline)
        path = self.ground.programs.get(program, "")
        if not path and when in (When.EARLY, When.AFTER):
            return Trigger(
                kind=kind, reason=reason, when=When.NEVER, undo=undo, effects=(f"there is no {program} here",)
            )
        return Trigger(
            kind=kind,
            reason=reason,
            when=when,
            undo=undo,
            run=tuple(Command((path or program, *c.argv), c.stdin, c.judged) for c in run),
            back=tuple(Command((path or program, *c.argv), c.stdin) for c in back),
            makes=tuple(makes),
            clears=tuple(clears),
            sets=tuple(sets),
            before=tuple(before),
            effects=tuple(effects),
        )

    def changed(self, kind: Kind) -> tuple[str, ...]:
        """The changed files of a kind."""
        return self.kinds.get(kind, ())

    def staying(self, kind: Kind) -> tuple[str, ...]:
        """Those that will be there."""
        return tuple(path for path in self.changed(kind) if path not in self.changes.removed)

    def texts(self, kind: Kind) -> list[str]:
        """All files of a kind as they will be, in order."""
        return [text for path, text in sorted(self.ground.new.items()) if kind_of(path) is kind]

    def absent(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those that are not there when triggers run."""
        return tuple(sorted(p for p in paths if p not in self.ground.present or p in self.changes.removed))

    def reason(self, paths: Sequence[str]) -> str:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        return f"{paths[0]} {self.changes.word(paths[0])}{more}"
