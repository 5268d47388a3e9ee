# SPDX-License-Identifier: Apache-2.0
"""Which harnesses there are. Each is a module that prints lines `title: passed / tried` (tests/figures/tally.py)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Harness:
    """One command. `note` says what its figures mean; `beside` if they are controls and peers, not promises."""

    section: str
    module: str
    arguments: tuple[str, ...] = ()
    note: str = ""
    beside: bool = False

    @property
    def command(self) -> str:
        """As a reader types it."""
        return " ".join(("python", "-m", self.module, *self.arguments))


CRASH = "tests.hostile.crash"
KILL, POWER, ERRORS, TWO = "Killed", "Power cut", "Errors of the disk", "Two at once"

HARNESSES = (
    Harness(
        KILL,
        f"{CRASH}.kills",
        note="In process, before every file-changing call, on a root of four mounts (one a bind mount). "
        "Recovery runs twice; the second time it must find nothing to do.",
    ),
    Harness(KILL, f"{CRASH}.command", note="The real command under strace, at every file-changing system call."),
    Harness(
        POWER,
        f"{CRASH}.powercut",
        note="A root on two disks. Every flush point: what was flushed, all that was written, and random parts of it.",
    ),
    Harness(
        POWER,
        f"{CRASH}.powercut",
        ("--control", "--sample", "30", "--busy-sample", "20"),
        "The same with ashore's syncing switched off.",
        beside=True,
    ),
    Harness(
        POWER,
        f"{CRASH}.powercut",
        ("--peers", "--sample", "200", "--busy-sample", "200"),
        "One plain tree, updated by each tool.",
        beside=True,
    ),
    Harness(POWER, f"{CRASH}.shutdown", note="The real command on a file system that is shut down under it."),
    Harness(POWER, f"{CRASH}.shutdown", ("--control",), "The same with syncing switched off.", beside=True),
    Harness(
        POWER,
        f"{CRASH}.booted",
        note="A booted systemd host cut off in an upgrade. Its boot unit recovers it, and each unit tells what it saw.",
    ),
    Harness(
        POWER, f"{CRASH}.booted", ("--control", "--sample", "10"), "The same with syncing switched off.", beside=True
    ),
    Harness(
        ERRORS,
        f"{CRASH}.faults",
        note="At every file-changing call. Exit 7 and all is as before, or 8 and the next run finishes it; "
        "and recovery on a disk that is full to the last byte.",
    ),
    Harness(
        ERRORS,
        f"{CRASH}.command",
        ("--errors", "--sample", "80"),
        "The real command, one system call failing: the exit code is true.",
    ),
    Harness(TWO, f"{CRASH}.two_at_once", note="A host and a container that see one root."),
    Harness(
        TWO,
        f"{CRASH}.installer",
        note="On a booted host, with all of its processes. The bundle is there or not; run again, it comes.",
    ),
)
