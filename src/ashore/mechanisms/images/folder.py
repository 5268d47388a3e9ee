# SPDX-License-Identifier: Apache-2.0
"""A bundle's folder as its author has it: a file that is asked for, or all of it, new."""

import os

from ashore.errors import InputError, words_of
from ashore.nouns.files import printable


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
        raise InputError(f"cannot read {printable(whole)}", cause=words_of(error)) from error


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
        raise InputError(f"cannot make {printable(folder)}", cause=words_of(error)) from error
