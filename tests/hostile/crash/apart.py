# SPDX-License-Identifier: Apache-2.0
"""Do something in a process of its own, and have its answer."""

import os
import pickle
import sys
from collections.abc import Callable
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
