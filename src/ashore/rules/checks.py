# SPDX-License-Identifier: Apache-2.0
"""Which programs of the host have to accept what a plan changes, and when they can be asked. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ashore.nouns.files import Kind, shown
from ashore.nouns.plan import Check, Step, When
from ashore.rules.bundles.bundle import is_unit_file
from ashore.rules.units.enablement import template_of, unit_of

PLACE = "{path}"
VERIFIER = "systemd-analyze"
_BAD = re.compile(r"Unit (\S+) has a bad unit file setting\.")
_NO_PROGRAM = re.compile(r"(\S+): Command (\S+) is not executable")


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked, and what cannot be."""

    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


def changed_contents(steps: Iterable[Step]) -> frozenset[str]:
    """The paths whose file is another afterwards."""
    return frozenset(
        s.path for s in steps if s.new is not None and s.new.kind is Kind.FILE and not s.new.same_content(s.old)
    )


def programs_of(validators: Mapping[str, Sequence[str]], steps: Iterable[Step]) -> frozenset[str]:
    """The programs that have to be looked for."""
    changed = changed_contents(steps)
    asked = {argv[0] for path, argv in validators.items() if path in changed}
    return frozenset(asked | ({VERIFIER} if any(map(_is_unit, changed)) else set()))


def plan_checks(
    validators: Mapping[str, Sequence[str]], steps: Sequence[Step], programs: Mapping[str, str], *, live: bool
) -> Checks:
    """What to run. `programs` has the path of each program that is there; on an offline root nothing is run.

    A program that comes with the plan, or one that is told no path, can only be asked once the files are in place.
    """
    changed = changed_contents(steps)
    asked = {path: tuple(argv) for path, argv in sorted(validators.items()) if path in changed}
    if not live:
        paths = ", ".join(map(shown, asked))
        return Checks(notes=(f"nothing is run on an offline root: {paths} not validated",) if asked else ())
    placed = {s.path for s in steps if s.new is not None and s.new.kind is Kind.FILE}
    checks: dict[tuple[str, ...], Check] = {}
    notes = []
    for path, argv in asked.items():
        program = programs.get(argv[0], "")
        if not program and argv[0].strip("/") not in placed:
            notes.append(f"{argv[0]} is not on this host: {shown(path)} is not validated")
            continue
        own = any(PLACE in word for word in argv)
        later = not own or {argv[0].strip("/"), program.strip("/")} & placed
        command = (program or argv[0], *argv[1:])
        key = (path, *command) if own else command
        before = checks[key].paths if key in checks else ()
        checks[key] = Check(command=command, paths=(*before, path), when=When.PLACED if later else When.STAGED)
    units = tuple(sorted(filter(_is_unit, changed)))
    if units and VERIFIER in programs:
        verify = Check(command=(programs[VERIFIER], "verify"), paths=units, when=When.STAGED, units=True)
        return Checks(checks=(*checks.values(), verify), notes=tuple(notes))
    if units:
        notes.append(f"{VERIFIER} is not on this host: {', '.join(map(shown, units))} not verified")
    return Checks(checks=tuple(checks.values()), notes=tuple(notes))


def bad_units(said: str, units: Mapping[str, str], folders: Collection[str]) -> dict[str, str]:
    """By path, what ``systemd-analyze verify`` refused of `units` (name -> path); others' faults are not ours.

    `folders` are those that it read, to be left out of what it says. A setting that is only ignored is no error:
    systemd says so, and starts the unit.
    """
    found = {}
    for match in _BAD.finditer(said):
        unit = match[1] if match[1] in units else template_of(match[1]) or ""
        if unit in units:
            about = [line for line in said.splitlines() if f"{match[1]}:" in line or f"/{unit}" in line]
            found[units[unit]] = "; ".join(_without(line, folders) for line in about) or match[0]
    return found


def missing_programs(said: str, brought: Collection[str]) -> list[str]:
    """What units would run, and is neither there nor about to be: something else may still bring it."""
    return [
        f"{match[1]} runs {match[2]}, which is not on this host"
        for match in _NO_PROGRAM.finditer(said)
        if match[2].strip("/") not in brought
    ]


def _is_unit(path: str) -> bool:
    return is_unit_file(path) and unit_of(path) is not None


def _without(line: str, folders: Collection[str]) -> str:
    for folder in folders:
        line = line.replace(f"{folder}/", "")
    return line
