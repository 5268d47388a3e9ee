# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs."""

import contextlib
import os
import shlex
import subprocess  # noqa: TID251 - this is the door
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import msgspec

from ashore.errors import AshoreError, words_of

# What a child may see of our environment; credentials and Python settings stay here.
_PASSED_ON = ("PATH", "HOME", "TERM", "XDG_RUNTIME_DIR", "TMPDIR")
_ALIKE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
"""All that what bundles name sees, in the folder /: the same by hand, by a timer, at a boot and in a watch."""
_LOOK = 0.5
"""Seconds: so often it is looked whether a program has ended that others still hold the output of."""
_MOST_SAID = 16 << 10
"""Bytes of a program's output that are kept: the last ones, which say why it failed."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended."""

    code: int
    stdout: bytes
    stderr: str


def run(
    argv: Sequence[str],
    *,
    seconds: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    check: bool = True,
    alike: bool = False,
) -> Finished:
    """Run `argv` without a shell, wait at most `seconds`, return what it said.

    `alike`: a bundle names it, so it must not matter who runs us, and where.

    Raises:
        AshoreError: it is not there, did not end in time, or (with `check`) ended with another code than 0.
            The message is the command as it can be pasted into a shell; standard input is never in it.
    """
    shown = shlex.join(argv)
    ours = _passed_on() | {"LC_ALL": "C.UTF-8"}
    environment, folder = (_ALIKE, "/") if alike else (ours, None)
    environment = environment | dict(env or {})
    try:
        pipe = subprocess.PIPE
        with (
            _file_of(stdin) as source,
            subprocess.Popen(list(argv), stdin=source, stdout=pipe, stderr=pipe, env=environment, cwd=folder) as child,
        ):
            try:
                stdout, told = _talk(child, seconds)
            except BaseException:
                child.kill()
                raise
    except subprocess.TimeoutExpired as error:
        raise AshoreError(f"{shown} did not end within {seconds:g} s") from error
    except OSError as error:
        raise _not_run(argv, error) from error
    stderr = told.decode(errors="replace").strip()
    if check and child.returncode != 0:
        raise AshoreError(f"{shown} {how_it_ended(child.returncode)}", cause=stderr[-2000:])
    return Finished(code=child.returncode, stdout=stdout, stderr=stderr)


def how_it_ended(code: int) -> str:
    """What a program's code says, for people: below zero it is the signal that killed it."""
    if code >= 0:
        return f"ended with {code}"
    import signal

    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"


@contextlib.contextmanager
def _file_of(stdin: bytes) -> Iterator[BinaryIO]:
    """What is said to a program, in memory: it may take it as slowly as it likes, and we only listen."""
    with open(os.memfd_create("stdin"), "w+b") as source:
        source.write(stdin)
        source.seek(0)
        yield source


def _talk(child: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, bytes]:
    """What it said until it ended. A daemon that it leaves behind may hold its output open, and is not waited for."""
    until = time.monotonic() + seconds
    while True:
        ended = child.poll() is not None
        try:
            return child.communicate(timeout=min(_LOOK, max(0.0, until - time.monotonic())))
        except subprocess.TimeoutExpired as so_far:
            if ended:
                return so_far.output or b"", so_far.stderr or b""
            if time.monotonic() >= until and child.poll() is None:
                raise


def run_attached(argv: Sequence[str], *, with_input: bool) -> int:
    """Run `argv` on our own standard output and error, and input if so asked, until it ends; return its code.

    Raises:
        AshoreError: it is not there.
    """
    try:
        return subprocess.call(list(argv), stdin=None if with_input else subprocess.DEVNULL, env=_passed_on())
    except OSError as error:
        raise _not_run(argv, error) from error


def run_told(argv: Sequence[str], *, seconds: float, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """Run what a bundle or a trigger names, and return the end of what it and its children said, both streams in one.

    There is no shell, and who runs us, and where, does not matter to it.

    Raises:
        AshoreError: it is not there, did not end in time (then nothing of it runs on), or ended with a code other
            than 0. What it said is the cause.
    """
    import signal
    import tempfile

    environment = _ALIKE | dict(env or {})
    with tempfile.TemporaryFile() as said:
        try:
            source = subprocess.PIPE if stdin else subprocess.DEVNULL
            child = subprocess.Popen(
                list(argv), stdin=source, stdout=said, stderr=said, env=environment, cwd="/", start_new_session=True
            )
        except OSError as error:
            raise _not_run(argv, error) from error
        in_time = True
        try:
            child.communicate(stdin or None, timeout=seconds)
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            if not in_time or child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_SAID))
        text = said.read().decode(errors="replace").strip()
    if not in_time:
        raise AshoreError(f"{shlex.join(argv)} did not end within {seconds:g} s", cause=text[-2000:])
    if child.returncode:
        raise AshoreError(f"{shlex.join(argv)} {how_it_ended(child.returncode)}", cause=text[-2000:])
    return text


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _not_run(argv: Sequence[str], error: OSError) -> AshoreError:
    return AshoreError(f"cannot run {shlex.join(argv)}", cause=words_of(error))
