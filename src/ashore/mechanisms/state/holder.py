# SPDX-License-Identifier: Apache-2.0
"""Who holds the lock of a state folder can be asked to end: it goes back in order then, as with Ctrl-C.

Source: proc_pid_fdinfo(5), which shows the locks that a process holds by each descriptor.
"""

import os
import signal

from ashore.mechanisms.descriptors import READ_FILE, closing
from ashore.mechanisms.state.state import State


def ask_to_end(state: State) -> bool:
    """Send SIGTERM to the process that holds the lock; whether there is one that could be asked.

    The lock file says who it is. The number alone may be another's by now, or one of a container: it has to hold this
    very lock.
    """
    try:
        with closing(os.open("lock", READ_FILE, dir_fd=state.fd)) as descriptor:
            process, status = int(os.pread(descriptor, 100, 0)), os.fstat(descriptor)
        if process <= 1 or process == os.getpid() or not _holds(process, status):
            return False
        os.kill(process, signal.SIGTERM)
    except (OSError, ValueError):  # it ended meanwhile, or is not ours to look at
        return False
    return True


def _holds(process: int, file: os.stat_result) -> bool:
    """Whether one of its descriptors is of this file, and has it locked."""
    folder = f"/proc/{process}"
    for number in os.listdir(f"{folder}/fd"):
        try:
            if os.path.samestat(os.stat(f"{folder}/fd/{number}"), file):
                with open(f"{folder}/fdinfo/{number}", "rb") as lines:
                    if any(line.startswith(b"lock:") and b"FLOCK" in line for line in lines):
                        return True
        except OSError:  # closed meanwhile
            continue
    return False
