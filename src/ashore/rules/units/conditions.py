# SPDX-License-Identifier: Apache-2.0
"""Which path conditions of a unit a plan changes: ``ConditionPathExists=`` and its like, systemd.unit(5). Pure.

What a condition said before and says after is judged by the plan's own steps: a path that no step touches
says what it said.
"""

import fnmatch
import posixpath
from collections.abc import Callable, Iterable, Mapping

from ashore.nouns.files import Entry, Kind, parent
from ashore.nouns.plan import Step
from ashore.rules.units.unitfile import Setting
from ashore.rules.units.unitpaths import NO_LINKS, behind, expanded, merged_usr

_Test = Callable[[Entry | None], bool]
_TESTS: Mapping[str, _Test] = {
    "PathExists": lambda entry: entry is not None,
    "PathIsDirectory": lambda entry: entry is not None and entry.kind is Kind.DIR,
    "PathIsSymbolicLink": lambda entry: entry is not None and entry.kind is Kind.SYMLINK,
    "FileNotEmpty": lambda entry: entry is not None and entry.kind is Kind.FILE and entry.size > 0,
    "FileIsExecutable": lambda entry: entry is not None and entry.kind is Kind.FILE and bool(entry.mode & 0o111),
}
_GLOB = "PathExistsGlob"
_FILLED = "DirectoryNotEmpty"


def differing(
    unit: str, settings: Iterable[Setting], steps: Iterable[Step], links: Mapping[str, str] = NO_LINKS
) -> tuple[str, ...]:
    """The conditions, as ``ConditionPathExists=/etc/x``, that `steps` make say something else."""
    by_path = {merged_usr(step.path): step for step in steps}
    found = []
    for setting in settings:
        name = setting.key.removeprefix("Condition").removeprefix("Assert")
        if setting.section != "Unit" or name == setting.key or not setting.value:
            continue
        path = expanded(setting.value.lstrip("|!"), unit)
        names = behind(posixpath.normpath("/" + path.strip()).lstrip("/"), links)
        if any(_differs(name, merged_usr(path), by_path) for path in names):
            found.append(f"{setting.key}={setting.value}")
    return tuple(dict.fromkeys(found))


def _differs(name: str, path: str, steps: Mapping[str, Step]) -> bool:
    if name in _TESTS:
        step = steps.get(path)
        return step is not None and _TESTS[name](step.old) != _TESTS[name](step.new)
    comes_or_goes = [at for at, step in steps.items() if (step.old is None) != (step.new is None)]
    if name == _GLOB:
        return any(at.count("/") == path.count("/") and fnmatch.fnmatchcase(at, path) for at in comes_or_goes)
    if name == _FILLED:
        # Whether it was the first or last one there is not known here: the unit looks again.
        return any(parent(at) == path for at in comes_or_goes)
    return False
