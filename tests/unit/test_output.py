# SPDX-License-Identifier: Apache-2.0
"""Output that may get lost: each case is a process of its own, as it changes the standard streams."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from ashore.mechanisms import output
output._DRAIN_SECONDS = {seconds}
output.survive_lost_output()
for number in range({lines}):
    print("x" * 99)
print("done", file=sys.stderr)
sys.stdout.write("no newline at the end")
"""


def program(lines: int, seconds: float = 60) -> list[str]:
    """`seconds`: how long its end waits for a slow reader."""
    return [sys.executable, "-c", PROGRAM.format(lines=lines, seconds=seconds)]


def test_everything_arrives_in_order_and_complete() -> None:
    done = subprocess.run(program(lines=5000), capture_output=True, text=True)
    assert done.stdout == ("x" * 99 + "\n") * 5000 + "no newline at the end"
    assert (done.stderr, done.returncode) == ("done\n", 0)


def test_a_document_is_not_dropped_for_its_size() -> None:
    big = "import sys\nfrom ashore.mechanisms import output\noutput.survive_lost_output()\n"
    big += "print('y'); print('x' * (9 << 20)); print('z')"
    done = subprocess.run([sys.executable, "-c", big], capture_output=True, text=True)
    assert done.stdout == "y\n" + "x" * (9 << 20) + "\nz\n"


def test_a_closed_pipe_is_no_error_and_the_rest_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program(lines=5000), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.stderr, done.returncode) == ("done\n", 0)


def test_a_reader_that_never_reads_does_not_stop_the_writer() -> None:
    reading, writing = os.pipe()
    never = program(lines=5000, seconds=0.1)
    done = subprocess.run(never, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=30)
    os.close(writing)
    os.close(reading)
    assert (done.stderr, done.returncode) == ("done\n", 0)
