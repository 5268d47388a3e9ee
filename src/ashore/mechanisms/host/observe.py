# SPDX-License-Identifier: Apache-2.0
"""See what lies on the host: by its recorded stat where that still holds, by reading it where not."""

import os
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

from ashore.errors import UnchangedError, words_of
from ashore.mechanisms.attributes import see, stat_of
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import Seen, parent, shown
from ashore.nouns.generation import FileRecord


def observe(
    host: Beneath,
    paths: Iterable[str],
    records: Mapping[str, FileRecord],
    *,
    read_all: bool = False,
    listings: MutableMapping[str, Sequence[str] | None] | None = None,
) -> dict[str, Seen]:
    """What lies at each physical path; a path where nothing lies is absent.

    A path whose stat is as recorded is not read, unless `read_all`. The names in each folder that is in
    `listings` are put there in passing, as the folder is open then.

    Raises:
        UnchangedError: something cannot be read.
    """
    found: dict[str, Seen] = {}
    absent: set[str] = set()
    for path in sorted(paths):
        # Below a folder that is not there nothing is: on a first install that is nearly everything.
        status = None if parent(path) in absent else host.lstat(path)
        if status is None:
            absent.add(path)
            continue
        if listings is not None and path in listings:
            listings[path] = _names(host, path)
        record = records.get(path)
        lay = record.lay if record is not None and not read_all else None
        if lay is not None and record is not None and record.stat == stat_of(status):
            found[path] = Seen(entry=lay, stat=record.stat, links=status.st_nlink)
            continue
        directory, name = host.at(path)
        try:
            found[path] = see(directory, name or ".", status)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnchangedError(f"cannot read {shown(path)}", cause=words_of(error)) from error
    return found


def folders(host: Beneath, paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """The names in each folder, for those that exist."""
    listings = {path: _names(host, path) for path in paths}
    return {path: frozenset(names) for path, names in listings.items() if names is not None}


def _names(host: Beneath, path: str) -> list[str] | None:
    try:
        return os.listdir(host.folder(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
