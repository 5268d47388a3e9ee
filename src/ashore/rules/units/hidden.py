# SPDX-License-Identifier: Apache-2.0
"""Unit files of bundles that another one hides: PID 1 reads the first folder that has the name. No I/O."""

from collections.abc import Iterable, Iterator

from ashore.nouns.files import shown
from ashore.nouns.units import UNIT_FOLDERS
from ashore.rules.units.changes import Changes
from ashore.rules.units.unitpaths import own_paths


def hidden(paths: Iterable[str], changes: Changes) -> Iterator[str]:
    """A note on each that is not in effect, where the plan changes one of its name."""
    by_name: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder in UNIT_FOLDERS:
            by_name.setdefault(name, []).append(path)
    for name, same in sorted(by_name.items()):
        if len(same) > 1 and not changes.all.isdisjoint(same):
            first, *others = own_paths(name, same)
            yield from (f"{shown(other)} is not in effect: {shown(first)} hides it" for other in others)
