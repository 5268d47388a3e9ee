# SPDX-License-Identifier: Apache-2.0
"""Which of several bundles a failure is the fault of, as far as it names what is theirs. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from ashore.errors import Issue
from ashore.nouns.files import shown
from ashore.nouns.generation import BundleRecord, FileRecord
from ashore.rules.units.enablement import unit_of


def to_blame(
    issues: Iterable[Issue], bundles: Sequence[BundleRecord], files: Mapping[str, FileRecord]
) -> frozenset[str]:
    """The names of those that an issue is about, where it is about no other of them.

    `files` is the record of the generation that they are in.
    """
    theirs = {bundle.name: _names(bundle, files) for bundle in bundles}
    about = ([name for name, names in theirs.items() if issue.where in names] for issue in issues)
    return frozenset(names[0] for names in about if len(names) == 1)


def _names(bundle: BundleRecord, files: Mapping[str, FileRecord]) -> set[str | None]:
    """Its units, its checks and its files, as issues name them. A drop-in makes a unit its own, too."""
    paths = [path for path, record in files.items() if record.bundle == bundle.name]
    checks = (health.name for health in bundle.health)
    return {*bundle.enabled, *checks, *map(shown, paths), *map(unit_of, paths)}
