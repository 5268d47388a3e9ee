# SPDX-License-Identifier: Apache-2.0
"""Files that may be there or not: not there is only what has no name; a symlink to nothing is an error."""

import errno
import os
import stat

from ashore.mechanisms.beneath import Beneath
from ashore.nouns.files import ancestors


def read_if_there(host: Beneath, path: str, limit: int) -> bytes | None:
    """As `Beneath.read_bytes`, but None where nothing has that name; a symlink to /dev/null reads as empty."""
    try:
        return host.read_bytes(path, limit)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and _absent(host, path):
            return None
        if _link_at(host, path) == "/dev/null":
            return b""
        raise


def listdir_if_there(host: Beneath, path: str) -> list[str] | None:
    """As `Beneath.listdir`, but None where nothing has that name."""
    try:
        return host.listdir(path)
    except FileNotFoundError:
        if _absent(host, path):
            return None
        raise


def _absent(host: Beneath, path: str) -> bool:
    """Whether nothing has the name of a logical path that cannot be opened; a symlink to nothing is an error."""
    for at in (*ancestors(path), path):
        try:
            os.close(host.open(at, os.O_PATH, follow=True))
        except FileNotFoundError:
            if target := _link_at(host, at):
                if at == path and target == "/dev/null":
                    return False
                raise FileNotFoundError(errno.ENOENT, "a symlink that leads nowhere below the root", at) from None
            return True
    return False


def _link_at(host: Beneath, path: str) -> str:
    """What the symlink at a logical path says; empty where there is none."""
    physical = host.physical(path)
    status = host.lstat(physical)
    return host.readlink(physical) if status is not None and stat.S_ISLNK(status.st_mode) else ""
