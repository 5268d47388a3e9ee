# SPDX-License-Identifier: Apache-2.0
"""The entry point: answers ``--version`` at once and leaves the rest to `ashore.cli`."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from ashore import __version__

        sys.stdout.write(f"ashore {__version__}\n")
        return
    from ashore.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
