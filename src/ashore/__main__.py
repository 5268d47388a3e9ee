# SPDX-License-Identifier: Apache-2.0
"""The entry point: answers ``--version`` at once and leaves the rest to `ashore.cli`."""

import gc
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

    code = run(sys.argv[1:])
    gc.disable()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
