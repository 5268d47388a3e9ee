# SPDX-License-Identifier: Apache-2.0
"""The symlinks that enable units: those that bundles ship, those of other bundles, and those of the host."""

import contextlib
from collections.abc import Iterator, Sequence

import msgspec

from ashore.acts.plan.desire import Part
from ashore.acts.tools import Tools
from ashore.errors import InputError, Issue
from ashore.mechanisms.host.unitfiles import mask_of, unit_folders
from ashore.nouns.files import Entry, FileSet, Kind, Wanted, parent
from ashore.nouns.generation import BundleRecord, Generation
from ashore.nouns.units import ADMIN_FOLDER, UNIT_FOLDERS, Enablement
from ashore.rules.units.changes import Changes
from ashore.rules.units.enablement import Shipped, closure, default_instance, enabled_by, template_of
from ashore.rules.units.health import may_be_made
from ashore.rules.units.unitpaths import in_order, shipped


def enabled(tools: Tools, parts: Sequence[Part], current: Generation) -> tuple[Part, ...]:
    """All that is wanted of the host, with the links of the units that new parts enable.

    Raises:
        InputError: a unit to enable, or to check on a live root, is neither in a bundle nor on the host.
    """
    around = _Around(tools, parts, current)
    linked = tuple(part if part.enable is None else _with_links(tools, part, part.enable, around) for part in parts)
    _refuse_unknown(tools, [part.record for part in parts if part.enable is not None], linked)
    return linked


def _refuse_unknown(tools: Tools, asked: Sequence[BundleRecord], parts: Sequence[Part]) -> None:
    """A unit to check that is nowhere would never be checked, and nobody would know that its name is wrong."""
    named = [(record.name, health.unit) for record in asked for health in record.health if health.unit]
    if tools.systemd is None or not named:
        return
    paths = [item.path for part in parts for item in part.wanted]
    folders = unit_folders(tools.host)
    files = {path.rpartition("/")[2] for path in paths if parent(path) in folders}
    missing = [(name, unit) for name, unit in named if files.isdisjoint({unit, template_of(unit)})]
    if not missing or may_be_made(paths, (step for part in parts for step in part.record.steps)):
        return
    states = tools.systemd.states([unit for _, unit in missing])
    for name, unit in missing:
        if states[unit].load == "not-found":
            raise _nowhere(name, unit, "[[health]] unit")


class _Around:
    """The units beside a bundle's own: those of the other bundles, and those of the host, as both will be."""

    def __init__(self, tools: Tools, parts: Sequence[Part], current: Generation) -> None:
        self._tools = tools
        self._texts = {path: text for part in parts for path, text in part.texts.items()}
        wanted = {item.path for part in parts for item in part.wanted}
        files = current.files.items()
        self._going = {path for path, record in files if path not in wanted and record.original is None}

    def unit(self, bundle: str, unit: str) -> dict[str, Shipped]:
        """A unit that the bundle enables and does not ship."""
        name = template_of(unit) or unit
        for folder in in_order(UNIT_FOLDERS):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                path = self._tools.host.physical(f"{folder}/{name}")
                if path not in self._going:
                    return {name: Shipped(path=path, text=self._text(path))}
        raise _nowhere(bundle, unit, "[units] enable")

    def _text(self, path: str) -> str:
        if path in self._texts:
            return self._texts[path]
        return self._tools.host.read_bytes(path, self._tools.limits.template).decode()


def _nowhere(bundle: str, unit: str, where: str) -> InputError:
    message = f"{unit} is neither in the bundle nor on the host"
    return InputError(
        f"the bundle {bundle} cannot be used", issues=[Issue(where=f"bundle.toml: {where}", message=message)]
    )


def _with_links(tools: Tools, part: Part, asked: tuple[str, ...], around: _Around) -> Part:
    """The part with the units to enable, the symlinks for it, and what to say of masked ones."""
    name = part.record.name
    known = shipped(part.texts)
    masked = [unit for unit in asked if mask_of(tools.host, unit)]
    for unit in asked:
        if unit not in known and (template_of(unit) or unit) not in known and unit not in masked:
            known |= around.unit(name, unit)
    # A masked unit keeps its links, as systemctl leaves them: it does not start, and unmasked it is enabled again.
    links = closure(tuple(u for u in asked if u in known or template_of(u) in known), known)
    wanted = {link.path: _link(tools, name, link) for of_unit in links.values() for link in of_unit}
    ships = {item.path for item in part.wanted}
    # On a live root systemd tells, of those that a change concerns.
    notes = () if tools.live else tuple(f"{unit} is masked on this host and stays so" for unit in masked)
    units = [default_instance(unit, known[unit].text) if unit in known else unit for unit in (*asked, *links)]
    return msgspec.structs.replace(
        part,
        record=msgspec.structs.replace(part.record, enabled=tuple(dict.fromkeys(units))),
        wanted=(*part.wanted, *(w for path, w in sorted(wanted.items()) if path not in ships)),
        enable=None,
        notes=(*part.notes, *notes),
    )


def _link(tools: Tools, bundle: str, link: Enablement) -> Wanted:
    uid, gid = tools.owner or (0, 0)
    entry = Entry(kind=Kind.SYMLINK, mode=0o777, uid=uid, gid=gid, target=link.target)
    return Wanted(path=link.path, entry=entry, bundle=bundle, adopt=_may_take_over(tools, link))


def _may_take_over(tools: Tools, link: Enablement) -> bool:
    """Whether what lies there says no more than the link does: an alias has the place of a unit file, or of a mask."""
    if parent(link.path) != ADMIN_FOLDER:
        return True
    with contextlib.suppress(OSError):
        return tools.host.readlink(link.path).rpartition("/")[2] == link.target.rpartition("/")[2]
    return False


def dangling(tools: Tools, desired: FileSet, changes: Changes) -> Iterator[str]:
    """Notes on units that stay enabled and have no file any more, since the bundle that had it goes."""
    for path, wanted in desired.items() if changes.removed else ():
        target = wanted.entry.target.lstrip("/")
        if target not in changes.removed or not (unit := enabled_by(path, wanted.entry.target)):
            continue
        name = target.rpartition("/")[2]
        files = {tools.host.physical(f"{folder}/{name}") for folder in UNIT_FOLDERS} - changes.removed
        if not any(file in desired or tools.host.lstat(file) is not None for file in files):
            yield f"{wanted.bundle} enables {unit}, which has no unit file any more: it cannot start"
