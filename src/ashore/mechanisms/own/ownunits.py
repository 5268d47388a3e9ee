# SPDX-License-Identifier: Apache-2.0
"""Units that ashore itself needs on a host: placed durably beside those of bundles, and taken away without a trace."""

import contextlib
import os
import stat
from collections.abc import Mapping

from ashore.mechanisms import durable
from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import ancestors, parent

_LARGEST = 64 * 1024


def place(host: Beneath, texts: Mapping[str, str], links: Mapping[str, str]) -> bool:
    """Have these files and symlinks there, by path; whether anything was written.

    Raises:
        OSError: it cannot be written.
    """
    changed = False
    for path, text in texts.items():
        with contextlib.suppress(OSError):
            if host.read_bytes(path, _LARGEST) == text.encode():
                _remove(host, durable.beside(path))
                continue
        directory, name = _at(host, path)
        durable.replace(directory, name, text.encode(), mode=0o644)
        changed = True
    for path, target in links.items():
        directory, name = _at(host, path)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, name, dir_fd=directory)
            os.fsync(directory)
            changed = True
    return changed


def is_anothers(host: Beneath, path: str, ours: bytes) -> bool:
    """Whether it is a mask, or somebody wrote it: what ashore places begins with `ours`.

    Raises:
        OSError: it cannot be read.
    """
    status = host.lstat(host.physical(path))
    return status is not None and not (
        stat.S_ISREG(status.st_mode) and host.read_bytes(path, _LARGEST).startswith(ours)
    )


def are_there(host: Beneath, texts: Mapping[str, str], links: Mapping[str, str]) -> bool:
    """Whether any of them is."""
    every = (*links, *texts, *map(durable.beside, texts))
    return any(host.is_there(path) for path in every)


def drop(host: Beneath, texts: Mapping[str, str], links: Mapping[str, str]) -> None:
    """Take them away again, with folders of links that are empty then; the files last, so that it can be cut short.

    Raises:
        OSError: something stays; once more goes on.
    """
    for path in links:
        _remove(host, path)
        folder = host.physical(parent(path))
        host.forget()
        with contextlib.suppress(OSError):  # somebody else's links are there
            directory, name = host.at(folder)
            os.rmdir(name, dir_fd=directory)
            os.fsync(directory)
    for path in texts:
        _remove(host, durable.beside(path))
        _remove(host, path)


def tidy(host: Beneath, path: str) -> None:
    """Take away what a kill left of writing it.

    Raises:
        OSError: it stays.
    """
    left = durable.beside(path)
    if host.is_there(left):  # a file system that is read-only refuses even what is not there
        _remove(host, left)


def _remove(host: Beneath, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        directory, name = host.at(host.physical(path))
        durable.remove(directory, name)


def _at(host: Beneath, path: str) -> tuple[int, str]:
    physical = host.physical(path)
    for above in ancestors(physical):
        if host.lstat(above) is None:
            directory, name = host.at(above)
            os.mkdir(name, 0o755, dir_fd=directory)
            os.fsync(directory)
            host.forget()
    return host.at(physical)
