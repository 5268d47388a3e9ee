# SPDX-License-Identifier: Apache-2.0
"""``make demo``: ashore's main job, step by step. Ends with an error when a step does not do what it should."""

import sys
import time

from scripts import demo_live, demo_offline
from scripts.material import terminal
from scripts.terminal import StepError
from tests.system import lab
from tests.system.registry_server import PROGRAM, available


def missing() -> str:
    """Why there can be no real host and registry here; empty if there can."""
    return lab.missing() or ("" if available() else f"{PROGRAM} missing: run scripts/lab-packages")


def main(arguments: list[str]) -> int:
    """Tell the story that this machine allows; 0 when every step did what it should."""
    reason = "asked for" if "--offline" in arguments else missing()
    began = time.monotonic()
    with terminal() as at:
        try:
            if reason:
                at.say(f"OFFLINE ({reason}): the same in a folder, with no registry and no systemd.")
                demo_offline.tell(at)
            else:
                demo_live.tell(at)
        except (StepError, lab.LabError, OSError) as error:
            at.heading(f"The demo FAILED: {error}")
            return 1
        seconds = time.monotonic() - began
        at.heading(f"Done: {at.commands} commands in {seconds:.0f} s, and each did what it should")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
