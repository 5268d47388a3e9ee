# SPDX-License-Identifier: Apache-2.0
"""A reader at a terminal: types what a page says, in a folder and a home of their own, and looks at what comes."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.docs.pages import Command, Page, matches

REGISTRY = "registry.example"
"""What the pages call their registry; it is one on loopback here."""
HOME = "/home/you"
"""What the pages call the reader's folder."""
_SECONDS = 120
_PROGRESS = re.compile(
    r"(layer \d+ of \d+|comparing files|linux/\S+|[0-9a-f]{12}): .*\d [kMG]?B"
    r"|.*: fetched [\d.]+ [kMG]?B of [\d.]+ [kMG]?B"
)
"""What is a bar at a terminal, and how much was fetched; pages show neither."""


class MismatchError(AssertionError):
    """A command of a page failed, or printed something else than the page shows."""


class Reader:
    """Runs the commands of one page in order. `hosts` run a command on a host each; `names` are what the page calls
    something, and what it is here."""

    def __init__(
        self,
        folder: Path,
        registry: str,
        *,
        hosts: Mapping[str, Callable[[str], tuple[int, str]]] | None = None,
        names: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder, self._hosts = folder, hosts or {}
        self._names = {REGISTRY: registry, HOME: str(folder), **(names or {})}
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / ".cache"),
            "ASHORE_CACHE": str(folder / ".cache/ashore"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **(environment or {}),
        }
        folder.mkdir(parents=True, exist_ok=True)

    def follow(self, page: Page, *, real: bool) -> int:
        """Do what the page says, and return how many commands that were. Without `real`, its real blocks are left out.

        Raises:
            MismatchError: every command that does not do what the page says.
        """
        count, wrong = 0, []
        for block in page.blocks:
            if block.file:
                self._write(block.file, block.text)
            elif block.is_console and (real or not block.is_real):
                for command in block.commands():
                    wrong.append(self._type(page, command))
                    count += 1
        if any(wrong):
            raise MismatchError("\n".join(filter(None, wrong)))
        return count

    def _write(self, path: str, text: str) -> None:
        file = self._folder / path
        assert file.resolve().is_relative_to(self._folder.resolve()), f"{path} leads out of the reader's folder"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._here(text))

    def _type(self, page: Page, command: Command) -> str:
        """Run a command; how it differs from what the page says, empty if it does not."""
        text = self._here(command.text)
        if command.host:
            assert self._hosts, f"{page.name}:{command.line}: a host's command belongs into a real block"
            code, printed = self._hosts[command.host](text)
        else:
            code, printed = self._run(text)
        lines = [self._there(line) for line in printed.splitlines() if not _PROGRESS.fullmatch(line)]
        wrong = "" if code == 0 else f"it ended with {code}\n"
        if command.shown and not matches(command.shown, lines):
            wrong += "the page shows:\n" + "".join(f"  | {line}\n" for line in command.shown)
        if not wrong:
            return ""
        output = "".join(f"  | {line}\n" for line in lines)
        return f"{page.name}:{command.line}: {command.text}\n{wrong}it printed:\n{output}"

    def _run(self, text: str) -> tuple[int, str]:
        """One command by bash; the folder and variables are those that the one before left."""
        state = self._folder / ".shell"
        script = (
            f"[ -f {state} ] && . {state}\nset -a\n"
            f"eval {shlex.quote(text)}\n"
            f"ended=$?; {{ export -p; echo cd \"'$PWD'\"; }} > {state}\nexit $ended\n"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def _here(self, text: str) -> str:
        for there, here in self._names.items():
            text = text.replace(there, here)
        return text

    def _there(self, line: str) -> str:
        for there, here in self._names.items():
            line = line.replace(here, there)
        # Whoever is not root cannot give files away: plans say so for each path, and the pages are written as root.
        return line if os.geteuid() == 0 else re.sub(rf" {os.getuid()}:{os.getgid()}\b", "", line)


@contextlib.contextmanager
def certificate(folder: Path) -> Iterator[tuple[Path, Path, Path]]:
    """An authority (ca.crt), and a certificate with its key for a registry on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, key, request, crt = (folder / name for name in ("ca.crt", "key.pem", "request.pem", "registry.crt"))
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for argv in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=the team's authority", "-keyout", f"{folder}/ca.key", "-out", ca],
        [*new, "-subj", "/CN=registry", "-keyout", key, "-out", request],
    ):
        subprocess.run([str(part) for part in argv], check=True, capture_output=True)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    sign = ["openssl", "x509", "-req", "-days", "2", "-in", request, "-CA", ca, "-CAkey", folder / "ca.key"]
    argv = [*sign, "-CAcreateserial", "-extfile", folder / "names", "-out", crt]
    subprocess.run([str(part) for part in argv], check=True, capture_output=True)
    try:
        yield ca, crt, key
    finally:
        shutil.rmtree(folder, ignore_errors=True)
