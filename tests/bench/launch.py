# SPDX-License-Identifier: Apache-2.0
"""Run one program and tell what it took: `launch.py DESCRIPTOR COMMAND...`

A small process of its own, since the kernel counts a fork's memory for the program that replaces it: the
child of a large parent would be reported as large.
"""

import os
import sys
import time


def launch(report: int, command: list[str]) -> None:
    """Run `command` and write one line about it to the descriptor `report`."""
    begun = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(report)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - begun
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    os.write(report, f"wall={wall} cpu={cpu} peak={peak} code={os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
