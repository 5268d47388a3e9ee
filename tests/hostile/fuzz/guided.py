# SPDX-License-Identifier: Apache-2.0
"""One reader fuzzed by coverage, with atheris (libFuzzer for Python).

python -m tests.hostile.fuzz.guided TARGET [--seconds N] [--keep]

Ends with 0 if nothing was found. With --keep, the shortest inputs that reached something new are kept for
the test suite, in tests/cases/fuzz-corpus.
"""

import argparse
import base64
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

MOST_SECONDS = 1.0
"""Of processor, for one input."""
MOST_MEMORY = 1 << 30
"""Bytes: more is a MemoryError. libFuzzer's own limit counts what the process that began this one once took."""
LARGEST = 1 << 16
KEPT = os.path.join(os.path.dirname(__file__), "..", "..", "cases", "fuzz-corpus")
_KEPT_SIZE, _KEPT_MOST = 3000, 120
_PLANTED = "planted"
"""A reader with a fault: the fuzzer has to find it."""


def corpus(name: str) -> list[bytes]:
    """What was kept of earlier runs."""
    try:
        with open(os.path.join(KEPT, f"{name}.json"), encoding="ascii") as file:
            return [base64.b64decode(text) for text in json.load(file)]
    except FileNotFoundError:
        return []


def fuzz(name: str, folder: str, seconds: int) -> None:
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
    bounds = ["-timeout=60", "-rss_limit_mb=0", f"-max_len={LARGEST}", "-verbosity=0", "-print_final_stats=1"]
    bounds += [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/"]
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    atheris.Setup([sys.argv[0], *bounds, folder], one)
    atheris.Fuzz()


def keep(name: str, seconds: int) -> int:
    """Fuzz for so long, and keep the shortest of the inputs that reached something new."""
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", __spec__.name, name, "--folder", found, "--seconds", str(seconds)]
        if code := subprocess.run(command).returncode:
            return code
        inputs = sorted({_read(entry.path) for entry in os.scandir(found)}, key=lambda data: (len(data), data))
    shortest = [base64.b64encode(data).decode() for data in inputs if len(data) <= _KEPT_SIZE][:_KEPT_MOST]
    with open(os.path.join(KEPT, f"{name}.json"), "w", encoding="ascii") as file:
        file.write(json.dumps(shortest, indent=0) + "\n")
    return 0


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.keep:
        return keep(given.target, given.seconds)
    with tempfile.TemporaryDirectory() as made:
        fuzz(given.target, given.folder or made, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
