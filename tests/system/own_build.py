# SPDX-License-Identifier: Apache-2.0
"""The self-contained build of this checkout, made once for its sources, and hosts without any Python to use it on."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from tests.system import lab

_SECONDS = 600


def own_build() -> Path:
    """The build by this machine's Python: half a minute when the sources are new.

    Raises:
        LabError: it cannot be made here.
    """
    files = [*(lab.CHECKOUT / "src").rglob("*.py"), *(lab.CHECKOUT / "packaging").iterdir()]
    recipe = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)]
    for old in lab.LAB.glob("own-*"):
        if old.name != f"own-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}":
            shutil.rmtree(old, ignore_errors=True)
    return lab.cached("own", recipe, _make)


def without_python(host: lab.Host) -> None:
    """Take Python, and the wrapper that needs it, from a host."""
    host.run(["sh", "-c", "rm -rf /usr/bin/python3* /usr/lib/python3* /usr/local/bin/ashore"])


def _make(folder: Path) -> None:
    done = subprocess.run(
        [lab.CHECKOUT / "packaging/self-contained", "--here"], capture_output=True, text=True, timeout=_SECONDS
    )
    if done.returncode != 0:
        raise lab.LabError(f"no self-contained build:\n{done.stdout}{done.stderr}")
    shutil.copytree(lab.CHECKOUT / "dist/ashore", folder, symlinks=True)
