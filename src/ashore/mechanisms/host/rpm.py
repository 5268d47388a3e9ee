# SPDX-License-Identifier: Apache-2.0
"""rpm's database, read only: SQLite (rpm 4.16 and later) with a header blob for each package.

Source: rpm, docs/manual/format_header.md: two big-endian counts, an index of 16 bytes an entry, a store.
"""

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.descriptors import closing

if TYPE_CHECKING:
    import sqlite3

DATABASES = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
_NAME, _DIRINDEXES, _BASENAMES, _DIRNAMES = 1000, 1116, 1117, 1118
_MOST_INDEX = 1 << 16
_MOST_ITEMS = 1 << 22
_BATCH = 500


def owners(host: Beneath, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The package of each path; `names` has for each path all the names that a package may know it by."""
    for database in DATABASES:
        flags = os.O_RDONLY | os.O_NONBLOCK
        with contextlib.suppress(OSError), closing(host.open(database, flags, follow=True)) as descriptor:
            if _has_log(host, database):
                return _asked_copy(host, database, descriptor, names)
            return _asked(f"/proc/self/fd/{descriptor}", names)
    return {}


def _has_log(host: Beneath, database: str) -> bool:
    """Whether rpm was cut short: then a part of the database is still in its write-ahead log."""
    log = host.lstat(f"{database}-wal")
    return log is not None and log.st_size > 0


def _asked_copy(host: Beneath, database: str, descriptor: int, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The log is taken in by whoever opens the database for writing: that is done to a copy."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ashore-") as folder:
        copy = os.path.join(folder, "rpmdb.sqlite")
        log = host.open(f"{database}-wal", os.O_RDONLY | os.O_NONBLOCK, follow=True)
        with open(descriptor, "rb", closefd=False) as source, open(log, "rb") as logged:
            for file, target in ((source, copy), (logged, f"{copy}-wal")):
                with open(target, "wb") as written:
                    shutil.copyfileobj(file, written)
        return _asked(copy, names, immutable=False)


def _asked(place: str, names: Mapping[str, tuple[str, ...]], *, immutable: bool = True) -> dict[str, str]:
    import sqlite3

    paths: dict[str, list[str]] = {}
    for path, aliases in names.items():
        for alias in aliases:
            paths.setdefault(alias, []).append(path)
    # Immutable: no lock and no journal file is made beside a database that is not ours. The name of
    # the descriptor is this process's own /proc, and cannot lead out of the root any more.
    try:
        options = "?immutable=1" if immutable else ""
        with contextlib.closing(sqlite3.connect(f"file:{place}{options}", uri=True)) as database:
            return _found(database, paths)
    except (sqlite3.Error, ValueError):
        # A damaged or foreign database: nothing is known of packages.
        return {}


def _found(database: "sqlite3.Connection", paths: Mapping[str, list[str]]) -> dict[str, str]:
    basenames = sorted({alias.rpartition("/")[2] for alias in paths})
    found: dict[str, str] = {}
    for number in _packages_with(database, basenames):
        row = database.execute("SELECT blob FROM Packages WHERE hnum = ?", (number,)).fetchone()
        package, files = read_header(row[0]) if row else ("", ())
        for alias in files:
            for path in paths.get(alias, ()):
                found.setdefault(path, package)
    return found


def _packages_with(database: "sqlite3.Connection", basenames: list[str]) -> list[int]:
    """Numbers of the headers that have a file of one of these names, from rpm's own index."""
    numbers: set[int] = set()
    for start in range(0, len(basenames), _BATCH):
        batch = basenames[start : start + _BATCH]
        marks = ",".join("?" * len(batch))
        query = f"SELECT DISTINCT hnum FROM Basenames WHERE key IN ({marks})"  # noqa: S608 - only marks go in
        numbers |= {row[0] for row in database.execute(query, batch)}
    return sorted(numbers)


def read_header(blob: bytes) -> tuple[str, Iterator[str]]:
    """A package's name, and the paths of its files, without a leading slash.

    Raises:
        ValueError: this is no header.
    """
    try:
        entries, store = struct.unpack_from(">II", blob)
        if entries > _MOST_INDEX:
            raise ValueError("too large for a header")
        start = 8 + 16 * entries
        if len(blob) < start + store:
            raise ValueError("cut off: not an rpm header")
        index = {tag: (offset, count) for tag, _, offset, count in struct.iter_unpack(">IIII", blob[8:start])}
        data = blob[start : start + store]
        name = next(_strings(data, *index[_NAME])) if _NAME in index else ""
        if _BASENAMES not in index:
            return name, iter(())
        folders = list(_strings(data, *index[_DIRNAMES]))
        offset, count = index[_DIRINDEXES]
        indexes = struct.unpack_from(f">{min(count, _MOST_ITEMS)}I", data, offset)
        names = _strings(data, *index[_BASENAMES])
        return name, iter([folders[i].lstrip("/") + base for i, base in zip(indexes, names, strict=False)])
    except (struct.error, KeyError, IndexError, StopIteration) as error:
        raise ValueError("not an rpm header") from error


def _strings(data: bytes, offset: int, count: int) -> Iterator[str]:
    """`count` strings, each ended by a NUL."""
    for _ in range(min(count, _MOST_ITEMS)):
        end = data.index(b"\0", offset)
        yield os.fsdecode(data[offset:end])
        offset = end + 1
