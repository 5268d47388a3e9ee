# SPDX-License-Identifier: Apache-2.0
"""``ashore login`` and ``logout`` at a shell: what is typed, piped, or wrong."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Ran
from tests.fakes.registry import FakeRegistry

USER, PASSWORD = "ann", "pass word:é"


class User:
    """Somebody with a home, and a registry that knows him."""

    def __init__(self, home: Path, registry: FakeRegistry) -> None:
        self.home, self.host = home, registry.host
        self.file = home / ".config/containers/auth.json"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self._environ = {**kept, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}

    def ashore(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ran:
        command = [sys.executable, "-m", "ashore", *arguments]
        done = subprocess.run(command, capture_output=True, input=stdin, env={**self._environ, **environ})
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def typing(self, keys: bytes, *arguments: str, **environ: str) -> Ran:
        """At a terminal, which shows what it shows."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "ashore", *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**self._environ, **environ},
        )
        os.close(theirs)
        shown = b""
        for line in keys.splitlines(keepends=True):
            asked = b""
            while not asked.rstrip().endswith(b":"):
                asked += os.read(ours, 1024)
            os.write(ours, line)
            shown += asked
        out = process.communicate()[0]
        os.set_blocking(ours, False)
        with contextlib.suppress(OSError):
            while said := os.read(ours, 1024):
                shown += said
        os.close(ours)
        return Ran(process.returncode, out.decode(), shown.decode(errors="replace"))


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with FakeRegistry(auth="basic", user=USER, password=PASSWORD) as registry:
        yield User(tmp_path, registry)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_that_is_piped(user: User, end: str) -> None:
    ran = user.ashore("login", user.host, "-u", USER, "--password-stdin", stdin=f"{PASSWORD}{end}".encode())
    assert (ran.code, ran.out) == (0, f"logged in to {user.host} as {USER}; kept in {user.file}\n")
    assert list(json.loads(user.file.read_text())["auths"]) == [user.host]
    ran = user.ashore("logout", user.host)
    assert (ran.code, ran.out) == (0, f"logged out of {user.host}; it was kept in {user.file}\n")
    ran = user.ashore("logout", user.host)
    assert (ran.code, ran.out, ran.err) == (0, "", f"not logged in to {user.host}\n")


def test_a_user_and_password_that_are_typed(user: User) -> None:
    ran = user.typing(f"{USER}\n{PASSWORD}\n".encode(), "login", user.host)
    assert ran.code == 0 and ran.out.startswith(f"logged in to {user.host}")
    assert "Username:" in ran.err and "Password:" in ran.err and PASSWORD not in ran.err


def test_giving_up_at_the_prompt(user: User) -> None:
    ran = user.typing(b"\x03", "login", user.host, "-u", USER)
    assert ran.code == 130 and not user.file.exists()


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (b"a\xff\n", "UTF-8"),
        (b"a\x01\n", "control characters"),
        (b"a:b\n", "colon"),
        (b"ann\np\xff\n", "UTF-8"),
        (b"ann\np\x01w\n", "control characters"),
        (b"ann\n" + b"x" * 200 + b"\x02\n", "holds no password"),
    ],
)
def test_what_is_typed_is_looked_at_as_what_is_piped(user: User, keys: bytes, said: str, locale: str) -> None:
    ran = user.typing(keys, "login", user.host, LC_ALL=locale)
    assert ran.code == 2 and said in ran.err, ran
    assert "Traceback" not in ran.err and not user.file.exists()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["-u", USER, "--password-stdin"], b"wrong", 4, "does not take this user and password"),
        (["-u", USER], b"", 2, "no terminal"),
        (["--password-stdin"], b"x", 2, "--username USER"),
        (["-u", "a:b", "--password-stdin"], b"x", 2, "colon"),
        (["-u", "", "--password-stdin"], b"x", 2, "empty"),
        (["-u", "a\udcff", "--password-stdin"], b"x", 2, "not UTF-8"),
        (["-u", USER, "--password-stdin"], b"", 2, "holds no password"),
        (["-u", USER, "--password-stdin"], b"\n", 2, "holds no password"),
        (["-u", USER, "--password-stdin"], b"one\ntwo\n", 2, "several lines"),
        (["-u", USER, "--password-stdin"], b"x" * 65537, 2, "64 KiB"),
        (["-u", USER, "--password-stdin"], b"\xff\xfe", 2, "UTF-8"),
        (["-u", USER, "-p", "secret"], b"", 2, "No such option"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_kept(
    user: User, arguments: list[str], stdin: bytes, code: int, said: str
) -> None:
    ran = user.ashore("login", user.host, *arguments, stdin=stdin)
    assert ran.code == code and said in ran.err and ran.out == ""
    assert "Traceback" not in ran.err and not user.file.exists()


def test_a_file_that_cannot_be_written(user: User) -> None:
    (user.home / ".config").write_text("")
    ran = user.ashore("login", user.host, "-u", USER, "--password-stdin", stdin=PASSWORD.encode())
    assert ran.code == 7 and "cannot write" in ran.err and str(user.file) in ran.err


def test_a_file_s_name_is_printed_escaped(user: User) -> None:
    odd = user.home / "a\x1b]0;x\x07.json"
    for verb, stdin in (("login", PASSWORD.encode()), ("logout", b"")):
        arguments = ["-u", USER, "--password-stdin"] if stdin else []
        ran = user.ashore(verb, user.host, *arguments, stdin=stdin, REGISTRY_AUTH_FILE=str(odd))
        assert ran.code == 0 and "a\\x1b]0;x\\x07.json" in ran.out and "\x1b" not in ran.out
