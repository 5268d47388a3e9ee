# SPDX-License-Identifier: Apache-2.0
"""The entry point: answers ``--version`` at once and leaves the rest to `ashore.cli`."""

import gc
import os
import sys

_ALLOCATIONS = 1_000_000
"""Between two searches for garbage."""


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from ashore import __version__

        sys.stdout.write(f"ashore {__version__}\n")
        return
    # Modules, and records by the thousand, are no garbage; the searches were a quarter of a run that does nothing.
    gc.set_threshold(_ALLOCATIONS)
    from ashore.cli import run

    _leave(run(sys.argv[1:]))


def _leave(code: int) -> None:
    """Exit, and leave it to the kernel to take apart what was read: Python would do so piece by piece."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # The interpreter says so, as of any program whose output goes nowhere.
    import threading  # by now it is there

    if threading.active_count() > 1:
        sys.exit(code)  # Output waits for a slow reader (`mechanisms.output`).
    os._exit(code)


if __name__ == "__main__":
    main()
