# SPDX-License-Identifier: Apache-2.0
"""Files of packages that a bundle takes over and that somebody had edited: what they were edited from."""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.acts.tools import Tools
from ashore.mechanisms.host.pristine import pristine
from ashore.mechanisms.stage.supply import Supply
from ashore.nouns.digest import of
from ashore.nouns.files import Entry, FileSet, Kind, Seen
from ashore.rules.files.threeway import LARGEST


def edited_packages_files(
    tools: Tools,
    desired: FileSet,
    taken_over: Iterable[str],
    owners: Mapping[str, str],
    seen: Mapping[str, Seen],
    supply: Supply,
) -> Mapping[str, Entry | None]:
    """Those of `taken_over` that are not as their package placed them, with what it did, None where that is gone.

    `supply` has the contents from then on.
    """
    known = pristine(tools.host, {path: owners[path] for path in taken_over if path in owners}, LARGEST)
    found: dict[str, Entry | None] = {}
    for path, placed in known.items():
        lies = seen[path].entry
        if lies.kind is not Kind.FILE or desired[path].entry.kind is not Kind.FILE or lies.size > LARGEST:
            continue
        if placed.is_it(tools.host.read_bytes(path, LARGEST)):
            continue
        found[path] = None
        if placed.content is not None:
            found[path] = msgspec.structs.replace(lies, digest=of(placed.content), size=len(placed.content))
            supply.offer({of(placed.content): placed.content})
    return found
