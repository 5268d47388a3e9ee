# SPDX-License-Identifier: Apache-2.0
"""What a host can do and holds now, as far as its triggers need it: only what changed paths ask for is looked at."""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.acts.plan.libraries import Libraries
from ashore.acts.tools import Tools
from ashore.mechanisms.attributes import may_own
from ashore.mechanisms.host import kernel
from ashore.mechanisms.host.users import read_owners
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.files import Entry, FileSet, Kind
from ashore.nouns.generation import Generation
from ashore.rules import firmware
from ashore.rules.triggers import sysctl
from ashore.rules.triggers.derived import HWDB_MADE, MODULES_FOLDER, MODULES_MADE, module_of, releases
from ashore.rules.triggers.ground import Ground
from ashore.rules.triggers.kinds import SPEAKING, by_kind, kind_of
from ashore.rules.triggers.kinds import Kind as Trigger
from ashore.rules.triggers.sysusers import newcomers
from ashore.rules.triggers.table import PROGRAMS, Triggers, plan_triggers
from ashore.rules.triggers.tmpfiles import made_by
from ashore.rules.units.changes import Changes

_KNOWN = (*SPEAKING, Trigger.HWDB)
"""Kinds of which the files of bundles are known: what they say, or that there are any."""
_UDEV = "run/udev/control"


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """The questions of one plan."""

    tools: Tools
    current: Generation
    desired: FileSet
    supply: Supply
    libraries: Libraries

    def leaving(self) -> frozenset[str]:
        """Files that triggers made and that nothing of a bundle asks for any more: they go by steps of the plan."""
        made = self.current.made
        if not made:
            return frozenset()
        kinds = by_kind(self.desired)
        kernels = {MODULES_FOLDER + release for release in releases(self.desired)}
        links = self.libraries.links() if Trigger.LINKER in made.values() else frozenset()
        going = {
            path
            for path, kind in made.items()
            if (kind == Trigger.HWDB and Trigger.HWDB not in kinds)
            or (kind == Trigger.DEPMOD and path.rpartition("/")[0] not in kernels)
            or (kind == Trigger.LINKER and path not in links)
        }
        return frozenset(going - self.desired.keys())

    def triggers(self, changes: Changes) -> Triggers:
        """What `changes` set off."""
        kinds = by_kind(changes.contents)
        libraries = self.libraries.among(changes.contents)
        new_users = self._new_users()
        if not (kinds or libraries or new_users):
            return Triggers(settings=self.current.settings, made=self.current.made)
        old, new = self._texts(changes, {*kinds} | ({Trigger.SYSUSERS} if new_users else set()))
        values, globs = self._values([*old.values(), *new.values()]) if Trigger.SYSCTL in kinds else ({}, {})
        if any(map(firmware.is_setting, changes.contents)):
            values |= kernel.read(self.tools.host, [firmware.PARAMETER])
        links = self.libraries.links() if libraries or Trigger.LINKER in kinds else frozenset()
        return plan_triggers(
            Ground(
                changes=changes,
                live=self.tools.live,
                root=self.tools.host.root,
                programs={name: path for name in PROGRAMS if (path := self._program(name))},
                old=old,
                new=new,
                values=values,
                globs=globs,
                present=self._present(changes, kinds, links, new),
                links=links,
                releases=frozenset(releases(self.desired)),
                libraries=libraries,
                new_users=new_users,
                settable=self.tools.live and kernel.writable(self.tools.host),
                loads_modules=Trigger.MODULES in kinds and kernel.may_load_modules(self.tools.host),
                runs_udev=self.tools.live and self.tools.host.lstat(_UDEV) is not None,
                may_own=may_own(),
                settings=self.current.settings,
                made=self.current.made,
            )
        )

    def _program(self, name: str) -> str:
        return self.tools.programs.find(name) if self.tools.programs is not None else ""

    def _new_users(self) -> tuple[str, ...]:
        """Users and groups that bundles will have made, and that are not there."""
        files = [path for path in self.desired if kind_of(path) is Trigger.SYSUSERS]
        if not files:
            return ()
        made = [newcomers(self._text(self.desired[path].entry)) for path in sorted(files)]
        owners = read_owners(self.tools.host)
        users = {f"user {name}" for found in made for name in found.users - owners.users.keys()}
        groups = {f"group {name}" for found in made for name in found.groups - owners.groups.keys()}
        return (*sorted(users), *sorted(groups))

    def _texts(self, changes: Changes, kinds: set[Trigger]) -> tuple[dict[str, str], dict[str, str]]:
        """The files of these kinds as they lie on the host, and as they will."""
        wanted = kinds & {*_KNOWN}
        old = self._lying(path for path in self.current.files if kind_of(path) in wanted)
        paths = [path for path in self.desired if kind_of(path) in wanted]
        changed = changes.contents
        new = self._lying(path for path in paths if path not in changed)
        # What is placed may be merged with an edit, and so be neither the bundle's nor the host's.
        placed = {step.path: step.new for step in changes.steps if step.new is not None}
        return old, new | {path: self._text(placed[path]) for path in paths if path in changed}

    def _lying(self, paths: Iterable[str]) -> dict[str, str]:
        host, most = self.tools.host, self.tools.limits.template
        return {path: text for path in paths if (text := host.text_of(path, most)) is not None}

    def _text(self, entry: Entry) -> str:
        return self.supply.text(entry.digest, self.tools.limits.template) if entry.kind is Kind.FILE else ""

    def _values(self, texts: Iterable[str]) -> tuple[dict[str, str], Mapping[str, tuple[str, ...]]]:
        """The kernel's values of all settings that `texts` name, and what the globs among the names stand for."""
        named = sysctl.all_assignments(texts)
        globs = {path: kernel.named_by(self.tools.host, path) for path in named if sysctl.is_glob(path)}
        return kernel.read(self.tools.host, sysctl.expanded(named, globs)), globs

    def _present(
        self, changes: Changes, kinds: Mapping[Trigger, tuple[str, ...]], links: frozenset[str], new: Mapping[str, str]
    ) -> frozenset[str]:
        paths = {*links, *self.current.made}
        if Trigger.HWDB in kinds:
            paths |= {*HWDB_MADE}
        if Trigger.DEPMOD in kinds:
            folders = [MODULES_FOLDER + release for release in releases(changes.contents)]
            paths |= {*folders, *(f"{folder}/{name}" for folder in folders for name in MODULES_MADE)}
            paths |= {f"sys/module/{module_of(path)}" for path in kinds[Trigger.DEPMOD]}
        if Trigger.TMPFILES in kinds:
            paths |= {*made_by(text for path, text in new.items() if kind_of(path) is Trigger.TMPFILES)}
        if Trigger.SYSCTL in kinds:
            paths |= {s for path in kinds[Trigger.SYSCTL] for s in sysctl.needed(new.get(path, ""))}
        return frozenset(path for path in paths if self.tools.host.is_there(path))
