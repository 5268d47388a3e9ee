# SPDX-License-Identifier: Apache-2.0
"""One reader fuzzed by coverage, with atheris (libFuzzer for Python).

python -m tests.hostile.fuzz.guided TARGET [--seconds N] [--keep]

Ends with 0 if nothing was found. With --keep, the fewest inputs that reach all that was reached are kept for
the test suite, in tests/cases/fuzz-corpus.
"""

import argparse
import base64
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

MOST_SECONDS = 1.0
"""Of processor, for one input."""
LARGEST = 1 << 16
KEPT = os.path.join(os.path.dirname(__file__), "..", "..", "cases", "fuzz-corpus")
_PLANTED = "planted"
"""A reader with a fault: the fuzzer has to find it."""


def corpus(name: str) -> list[bytes]:
    """What was kept of earlier runs."""
    try:
        with open(os.path.join(KEPT, f"{name}.json"), encoding="ascii") as file:
            return [base64.b64decode(text) for text in json.load(file)]
    except FileNotFoundError:
        return []


def fuzz(name: str, folder: str, options: Sequence[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["ashore", "tests.hostile.fuzz"], enable_loader_override=False):
        from tests.hostile.fuzz.planted import PLANTED
        from tests.hostile.fuzz.targets import TARGETS, tried
    target = PLANTED if name == _PLANTED else TARGETS[name]

    def one(data: bytes) -> None:
        begun = time.process_time()
        tried(target, data)
        if (took := time.process_time() - begun) > MOST_SECONDS:
            raise TimeoutError(f"{took:.1f} s")

    one(b"")  # what is imported late is no input's fault
    for number, seed in enumerate((*target.seeds, *corpus(name))):
        with open(os.path.join(folder, f"seed-{number}"), "wb") as file:
            file.write(seed)
    # By the clock only what hangs: this machine may have other things to do.
    bounds = ["-timeout=60", "-rss_limit_mb=1024", f"-max_len={LARGEST}", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={folder}/", *options, folder], one)
    atheris.Fuzz()


def keep(name: str, seconds: int) -> int:
    """Fuzz for so long, and keep the fewest inputs that reach as much."""
    with tempfile.TemporaryDirectory() as top:
        found, fewest = os.path.join(top, "found"), os.path.join(top, "fewest")
        os.mkdir(found)
        os.mkdir(fewest)
        command = [sys.executable, "-m", __spec__.name, name, "--folder", found]
        code = subprocess.run([*command, "--seconds", str(seconds)]).returncode
        if code == 0:
            subprocess.run([*command, "--merge", fewest], check=True)
            paths = sorted(entry.path for entry in os.scandir(fewest))
            texts = sorted(base64.b64encode(_read(path)).decode() for path in paths)
            with open(os.path.join(KEPT, f"{name}.json"), "w", encoding="ascii") as file:
                file.write(json.dumps(texts, indent=0) + "\n")
    return code


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--merge", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.keep:
        return keep(given.target, given.seconds)
    with tempfile.TemporaryDirectory() as made:
        options = ["-merge=1", given.merge] if given.merge else [f"-max_total_time={given.seconds}"]
        fuzz(given.target, given.folder or made, options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
