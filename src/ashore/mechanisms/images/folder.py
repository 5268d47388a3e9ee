# SPDX-License-Identifier: Apache-2.0
"""A bundle's folder as its author has it: names, kinds, modes, and the contents that are asked for."""

import os
import stat
from collections.abc import Iterator

from ashore.errors import InputError
from ashore.nouns.files import Entry, Kind, printable

_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIR, stat.S_IFLNK: Kind.SYMLINK}


def scan(folder: str) -> dict[str, Entry]:
    """Everything below `folder`, by path below it. Symlinks are not followed; digests are left out.

    Raises:
        InputError: `folder` is none, or something in it cannot be listed.
    """
    try:
        return dict(_below(folder, ""))
    except OSError as error:
        name = printable(error.filename if isinstance(error.filename, str) else folder)
        raise InputError(f"cannot read {name}", cause=error.strerror or str(error)) from error


def _below(folder: str, prefix: str) -> Iterator[tuple[str, Entry]]:
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda item: item.name):
            status = item.stat(follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER)
            path = prefix + item.name
            yield (
                path,
                Entry(
                    kind=kind,
                    mode=stat.S_IMODE(status.st_mode),
                    size=status.st_size if kind is Kind.FILE else 0,
                    target=os.readlink(item.path) if kind is Kind.SYMLINK else "",
                ),
            )
            if kind is Kind.DIR:
                yield from _below(item.path, f"{path}/")


def read(folder: str, path: str, limit: int) -> bytes | None:
    """At most `limit` bytes of the file `path` below `folder`; None if there is no such file.

    Raises:
        InputError: it cannot be read.
    """
    whole = os.path.join(folder, path)
    try:
        descriptor = os.open(whole, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {printable(whole)}", cause=error.strerror or str(error)) from error


def write_new(folder: str, contents: dict[str, str]) -> None:
    """Make `folder` with these files in it, all or nothing: it appears when all of it is there.

    Raises:
        InputError: it exists, or cannot be written.
    """
    if os.path.lexists(folder):
        raise InputError(f"{printable(folder)} exists already", remedy="choose another name, or remove it first")
    partial = f"{folder.rstrip(os.sep)}.partial-{os.getpid()}"
    try:
        os.mkdir(partial)
        for path, text in contents.items():
            whole = os.path.join(partial, path)
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "x", encoding="utf-8") as file:
                file.write(text)
        os.rename(partial, folder)
    except OSError as error:
        import shutil

        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot make {printable(folder)}", cause=error.strerror or str(error)) from error
