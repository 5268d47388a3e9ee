# SPDX-License-Identifier: Apache-2.0
"""What `ashore provision` prints, before the programs that will read it: cloud-init, Ignition."""

import shutil
import subprocess
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[1] / "cases" / "provision"

pytestmark = pytest.mark.real


def validate(*argv: str | Path) -> None:
    """Run a validator over a case."""
    if shutil.which(str(argv[0])) is None:
        pytest.skip(f"{argv[0]} missing: run scripts/lab-packages")
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", ["cloud-config.yaml", "cloud-config-mirror.yaml"])
def test_cloud_init_takes_it(case: str) -> None:
    validate("cloud-init", "schema", "--config-file", CASES / case)


def test_ignition_takes_it() -> None:
    validate("ignition-validate", CASES / "ignition.json")


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.glob("*.service")))
def test_systemd_takes_the_units(case: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` asks that the programs are there: stand-ins are, in a root of their own."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze missing")
    unit = tmp_path / "etc/systemd/system/ashore-boot.service"
    unit.parent.mkdir(parents=True)
    shutil.copy(CASES / case, unit)
    for program in ("bin/sh", "opt/bin/ashore"):
        stand_in = tmp_path / program
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_text("#!/bin/sh\n")
        stand_in.chmod(0o755)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--root", tmp_path, "ashore-boot.service"], capture_output=True, text=True
    )
    # A root with nothing else in it has none of the units that this one comes after: only that is not our business.
    said = [line for line in done.stderr.splitlines() if "ashore-boot.service" in line and "not found" not in line]
    assert said == []
