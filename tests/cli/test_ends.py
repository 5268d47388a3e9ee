# SPDX-License-Identifier: Apache-2.0
"""How the program ends: what it said has been said, wherever its output goes, and its code is told."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell

PROGRAM = [sys.executable, "-m", "ashore"]


def test_all_that_was_said_arrives_before_the_end() -> None:
    done = subprocess.run([*PROGRAM, "install", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ") and done.stdout.endswith("Show this message and exit.\n")
    assert subprocess.run([*PROGRAM, "nonsense"], capture_output=True).returncode == 2


def test_a_full_disk_is_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_a_reader_that_went_away_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_fault(shell: Shell, closed: str) -> None:
    image = shell.image("app", {"etc/app": "one\n"})
    program = f"{shlex.join([*PROGRAM, 'install', image, '--root', str(shell.root)])} {closed}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fault" not in done.stderr
    assert ("generation 1" in done.stdout + done.stderr) == (closed in ("<&-", "2>&-"))
    assert (shell.root / "etc/app").read_text() == "one\n"
    refused = subprocess.run(["sh", "-c", program.replace("install", "nonsense", 1)], capture_output=True, text=True)
    assert refused.returncode == 2
    assert ("nonsense" in refused.stderr) == ("2" not in closed)


def test_a_program_that_is_run_without_streams_gets_some() -> None:
    """A child of ours would take a file of its own for them."""
    script = """
import os, subprocess, ashore.cli
def run(arguments):
    return subprocess.call(["sh", "-c", 'for n in 0 1 2; do test -e /proc/self/fd/$n || exit 9; done'])
ashore.cli.run = run
from ashore.__main__ import main
main()
"""
    program = f"{shlex.join([sys.executable, '-c', script])} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", program]).returncode == 0


@pytest.mark.parametrize(("second", "said"), [("SIGHUP", "went back\n"), ("SIGTERM", "went back\n"), ("SIGINT", "")])
@pytest.mark.parametrize("first", ["SIGHUP", "SIGTERM"])
def test_who_tells_it_twice_does_not_cut_the_way_back_off(first: str, second: str, said: str) -> None:
    """As `timeout` does, and a shell whose terminal is gone; a Ctrl-C still counts."""
    script = f"""
import signal, ashore.cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have had them ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
def run(arguments):
    try:
        signal.raise_signal(signal.{first})
    except KeyboardInterrupt:
        signal.raise_signal(signal.{second})
        print("went back")
        return 130
ashore.cli.run = run
from ashore.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, said, "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_still_being_written_is_waited_for(stream: str) -> None:
    """As in the service of PID 1, where a thread writes: a slow reader gets all of it."""
    script = f"""
import sys
import ashore.cli
def run(arguments):
    from ashore.mechanisms.output import survive_lost_output
    survive_lost_output()
    sys.{stream}.write("x" * 300_000)
    return 9
ashore.cli.run = run
from ashore.__main__ import main
main()
"""
    reader, writer = os.pipe()
    program = subprocess.Popen([sys.executable, "-c", script], stdout=writer, stderr=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert len(file.read()) == 300_000
    assert program.wait() == 9
