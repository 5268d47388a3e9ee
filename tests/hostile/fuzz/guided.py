# SPDX-License-Identifier: Apache-2.0
"""One reader fuzzed by coverage, with atheris (``pip install atheris``; exit 3 where it is not there).

python -m tests.hostile.fuzz.guided TARGET [SECONDS]
"""

import importlib
import os
import sys
import tempfile
from typing import Any


def main(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process, with 0 if nothing was found."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed", file=sys.stderr)
        sys.exit(3)
    with atheris.instrument_imports(include=["ashore"]):
        from tests.hostile.fuzz.targets import CORPUS, TARGETS, tried
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds):
            with open(os.path.join(folder, str(number)), "wb") as file:
                file.write(seed)
        found = [path for path in [os.path.join(CORPUS, name)] if os.path.isdir(path)]
        options = [f"-max_total_time={seconds}", "-timeout=1", "-rss_limit_mb=1024", "-max_len=65536", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, folder, *found], lambda data: tried(target, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60)
