# SPDX-License-Identifier: Apache-2.0
"""Processes beside this one: to do something and be gone, or to disturb."""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def apart(act: Callable[[], T]) -> T:
    """Do it in a fork: what it opens, patches or caches is gone with it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            with open(writer, "wb") as file:
                pickle.dump(act(), file)
            code = 0
        except BaseException as error:
            print(f"  {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"it ended with {status}")
    return pickle.loads(data)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Neighbour:
    """A process that goes on until it is ended."""

    process: int

    def end(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def neighbour(folder: Path) -> Neighbour:
    """Makes its own file in `folder` durable, again and again: the file system commits early and often."""
    child = os.fork()
    if child:
        return Neighbour(child)
    try:
        descriptor = os.open(folder / "neighbour", os.O_RDWR | os.O_CREAT)
        while True:
            os.utime(descriptor)
            os.fsync(descriptor)
            time.sleep(0.0005)
    finally:
        os._exit(0)
