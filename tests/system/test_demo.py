# SPDX-License-Identifier: Apache-2.0
"""``make demo`` to the end: on a booted host where there can be one, and offline anywhere. It checks its own steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ashore.acts.author.lint import lint
from scripts.demo import missing
from scripts.terminal import StepError, Terminal
from tests.system.lab import CHECKOUT

WORKER = CHECKOUT / "examples/worker"


def demo(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "PRIVATE KEY-----\nM" not in done.stdout, "a key's content was shown"
    return done.stdout


def in_order(text: str, *parts: str) -> None:
    at = 0
    for part in parts:
        at = text.find(part, at)
        assert at >= 0, f"{part!r} is missing, or comes too early, in:\n{text}"
        at += len(part)


@pytest.mark.real
@pytest.mark.slow
def test_the_main_job_on_a_booted_host() -> None:
    if reason := missing():
        pytest.skip(f"no demo on a real host: {reason}")
    in_order(
        demo(),
        "$ ashore build worker -t localhost:",
        "generation 1: 15 added",
        "kubelet.service: active (running)",
        "nothing to do",
        "checked: kube-proxy was not: its PID is the same",
        "[exit code 7]",
        "held: kubernetes-worker",
        "(the registry does not run any more)",
        "generation 3: 0 added, 1 changed",
        "* 3",
        "are as before the first install",
        "and each did what it should",
    )


def test_the_main_job_in_a_folder() -> None:
    in_order(
        demo("--offline"),
        "OFFLINE (asked for)",
        "$ ashore build worker -o oci:images:1.0",
        "generation 1: 19 added",
        "nothing to do",
        "generation 2: 0 added, 1 changed",
        "kubelet.service.j2:9: public_ipp is not a value",
        "[exit code 3]",
        "generation 3: 0 added, 1 changed",
        "checked: the host is as before the first install",
        "and each did what it should",
    )


def test_the_example_has_nothing_to_report_and_no_key() -> None:
    assert lint(str(WORKER)) == ()
    assert not [path for path in WORKER.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


def test_a_step_that_does_not_do_what_it_should_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = Terminal(tmp_path, {"PATH": os.environ["PATH"]})
    assert at.here("echo yes", shows=["yes"]) == "yes\n"
    with pytest.raises(StepError, match="ended with 3, not 0"):
        at.here("exit 3")
    with pytest.raises(StepError, match="ended with 0, not 7"):
        at.here("true", code=7)
    with pytest.raises(StepError, match="did not print 'no'"):
        at.here("echo yes", shows=["no"])
    with pytest.raises(StepError, match="does not hold: it rains"):
        at.check(False, "it rains")
    assert capsys.readouterr().out.startswith("$ echo yes\nyes\n$ exit 3\n[exit code 3]\n")
