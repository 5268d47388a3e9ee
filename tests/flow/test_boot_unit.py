# SPDX-License-Identifier: Apache-2.0
"""What the boot unit's own few lines of shell decide, with stand-ins that write down how they are called.

The real engine runs it in tests/system.
"""

import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from ashore.cli import run

IMAGE = "registry.example/k8s/worker:1"
_STAND_IN = """\
#!/bin/sh
echo "{name} $*" >>{log}
case "$1 $2" in
{cases}esac
exit 0
"""


class Boot:
    """A machine's programs, and the command that the unit has for PID 1."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.log = folder / "log"
        (folder / "bin").mkdir()
        for tool in ("sh", "echo"):
            (folder / "bin" / tool).symlink_to(f"/bin/{tool}")
        self.has("systemctl", fails=["start ashore-settle.service"])

    def has(self, name: str, *, fails: Iterable[str] = ()) -> None:
        """A program that is there; `fails` are the first two words of what ends with 1."""
        cases = "".join(f'"{words}"*) exit 1 ;;\n' for words in fails)
        file = self.folder / ("ashore" if name == "ashore" else f"bin/{name}")
        file.write_text(_STAND_IN.format(name=name, log=self.log, cases=cases))
        file.chmod(0o755)

    def __call__(self, pull: str) -> tuple[int, list[str], str]:
        """Boot: the exit code, what was called (shortened), and what was said."""
        assert run(["provision", "unit", "--pull", pull, IMAGE]) == 0
        unit = self._capsys.readouterr().out.replace("/opt/bin/ashore", str(self.folder / "ashore"))
        command = re.search(r"^ExecStart=(.*?)^$", unit, re.MULTILINE | re.DOTALL)
        assert command
        # systemd.syntax(7): a line that ends in a backslash goes on with the next, with a space between them.
        argv = shlex.split(command[1].replace("\\\n", " "))
        self.log.write_text("")
        done = subprocess.run(
            argv, env={"PATH": str(self.folder / "bin")}, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        called = [line.replace(IMAGE, "IMAGE") for line in self.log.read_text().splitlines()]
        return done.returncode, [_short(line) for line in called if not line.startswith("systemctl")], done.stderr


def _short(line: str) -> str:
    return "docker run" if line.startswith("docker run") else line


KEPT = "ashore boot --pull never IMAGE"
PULL = "docker pull --quiet IMAGE"
THERE = "docker image inspect IMAGE"
SPREAD = "ashore boot --spread IMAGE"
NOT_INSTALLED = ["boot --pull"]
NOT_THERE = ["image inspect"]
NO_REGISTRY = ["pull --quiet"]


@pytest.fixture
def boot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Boot:
    return Boot(tmp_path, capsys)


@pytest.mark.parametrize(
    ("pull", "docker", "code", "called"),
    [
        ("missing", NOT_THERE, 0, [THERE, PULL, "docker run"]),
        ("missing", [], 0, [THERE, "docker run"]),
        ("missing", [*NOT_THERE, *NO_REGISTRY], 4, [THERE, PULL]),
        ("always", [], 0, [PULL, "docker run"]),
        ("always", NO_REGISTRY, 0, [PULL, THERE, "docker run"]),
        ("always", [*NOT_THERE, *NO_REGISTRY], 4, [PULL, THERE]),
        ("never", [], 0, [THERE, "docker run"]),
        ("never", NOT_THERE, 7, [THERE]),
    ],
)
def test_a_first_boot(pull: str, docker: list[str], code: int, called: list[str], boot: Boot) -> None:
    boot.has("docker", fails=docker)
    ended, log, said = boot(pull)
    assert (ended, log) == (code, called), said
    assert (IMAGE in said) is bool(code or NO_REGISTRY[0] in docker), "which image is missing is said"
    assert ("docker cannot pull" in said and "policy always" in said) is (pull == "always" and NO_REGISTRY[0] in docker)


@pytest.mark.parametrize(
    ("pull", "docker", "called"),
    [
        ("missing", [], [KEPT]),
        ("missing", [*NOT_THERE, *NO_REGISTRY], [KEPT]),
        ("always", [], [SPREAD, PULL, "docker run"]),
        ("always", NO_REGISTRY, [SPREAD, PULL, KEPT]),
        ("never", [], [KEPT]),
    ],
)
def test_a_boot_of_a_node(pull: str, docker: list[str], called: list[str], boot: Boot) -> None:
    boot.has("ashore")
    boot.has("docker", fails=docker)
    assert boot(pull)[:2] == (0, called)


def test_a_first_boot_that_came_as_far_as_ashore_is_tried_again(boot: Boot) -> None:
    """The installer image placed ashore and no more; now the registry is down and the image gone."""
    boot.has("ashore", fails=NOT_INSTALLED)
    boot.has("docker", fails=[*NOT_THERE, *NO_REGISTRY])
    for pull in ("missing", "always"):
        code, _, said = boot(pull)
        assert (code, "cannot pull it" in said) == (4, True)


def test_without_an_engine_a_node_stays_and_a_new_one_says_what_is_missing(boot: Boot) -> None:
    for pull in ("missing", "always"):
        code, _, said = boot(pull)
        assert (code, "there is no docker on this host" in said) == (127, True), said
    boot.has("ashore")
    for pull in ("missing", "always"):
        assert boot(pull)[0] == 0


def test_a_boot_unit_that_was_restarted_follows_the_change_that_goes_on(boot: Boot) -> None:
    boot.has("docker")
    boot.has("systemctl")
    assert boot("always")[:2] == (0, [])


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.example/a.tgz?X-Date=1&X-Sig=a%2Fb%3D",
        "http://u:p@[::1]:80/a;touch?x=(1)!#~*",
        "https://s3.example/%n%%",
    ],
)
def test_ashore_is_fetched_from_the_very_address(url: str, boot: Boot, capsys: pytest.CaptureFixture[str]) -> None:
    for tool in ("mkdir", "rm"):
        boot.has(tool)
    boot.has("curl", fails=["--fail --silent"])
    assert run(["provision", "unit", "--engine", "none", "--ashore-url", url, "--sha256", "a" * 64, IMAGE]) == 0
    command = re.search(r"^ExecStartPre=(.*?)\n(?=ExecStart=)", capsys.readouterr().out, re.MULTILINE | re.DOTALL)
    assert command
    # systemd.unit(5): %% is a percent sign; any other specifier would be something of the host's.
    assert "%" not in command[1].replace("%%", "")
    argv = shlex.split(command[1].replace("\\\n", " ").replace("%%", "%"))
    boot.log.write_text("")
    done = subprocess.run(argv, env={"PATH": str(boot.folder / "bin")}, capture_output=True, text=True)
    (called,) = (line for line in boot.log.read_text().splitlines() if line.startswith("curl"))
    assert (done.returncode, done.stderr, called.split()[-1]) == (1, "", url)
