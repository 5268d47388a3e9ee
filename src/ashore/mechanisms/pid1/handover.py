# SPDX-License-Identifier: Apache-2.0
"""A change of a live root is carried out by a transient service of PID 1; whoever asked only follows it.

So no lost connection, closed terminal, killed command line or restarted container runtime stops a
transaction half-way (docs/adr/0004-hand-over-to-pid-1.md).
"""

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ashore.errors import AshoreError, BusyError, ChangedError, ExitCode, NotFollowedError, UnchangedError, words_of
from ashore.mechanisms import process
from ashore.mechanisms.pid1 import answer
from ashore.mechanisms.pid1.notes import FOLDER
from ashore.nouns.installer import RECOVER_UNIT
from ashore.nouns.units import UNIT_FOLDERS

_REQUEST, _STALE_SECONDS = "request-", 600.0
_KILLED = ".killed"
"""Beside a request: what the service found when it was started once more. Then its output is the journal."""
_SECONDS = 60.0
_JOIN_SECONDS = 24 * 3600.0
"""A pull may take its time."""
_UNLOADED_CHECKS, _UNLOADED_PAUSE = 50, 0.1
"""How often to look whether a name is free, and the seconds between."""
_PASSED_ON = (
    "HOME",
    "PATH",
    "PYTHONPATH",
    "TERM",
    "COLUMNS",
    "NO_COLOR",
    "REGISTRY_AUTH_FILE",
    "DOCKER_CONFIG",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    *(f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL", "NO")),
    *(f"{name}_proxy" for name in ("http", "https", "all", "no")),
)


def hand_over(
    request: bytes,
    *,
    root: str,
    command: Sequence[str],
    identifier: str = "",
    enter: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    until_ready: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Have PID 1 of `root` run ``command FILE``, where FILE holds `request`; follow it; return its exit code.

    The service has our standard output and error, and our input unless that is a terminal. `enter` comes
    before systemd-run where the host has to be entered first (``nsenter ... --`` in a container).
    `identifier` names the service, ``ashore-IDENTIFIER.service``; a random one by default. With `until_ready`
    it is followed only until it says that it is ready (`mechanisms.pid1.notify`); what it prints goes to the journal.
    That it was killed, and its change finished all the same, is told by `say`.

    Raises:
        UnchangedError: the service did not start, and nothing was done.
        AshoreError: it was killed, and did not finish; the code says what became of the host.
        BusyError: a service of that name is at work; nothing was done.
        NotFollowedError: it is not followed any more (Ctrl-C): it goes on.
    """
    number = os.urandom(6).hex()
    unit = f"ashore-{identifier or number}.service"
    chosen = _environment() if environment is None else environment
    _drop_stale(root)
    if identifier:
        _forget_failed(unit, enter)
        _await_unloaded(unit, enter)
    # Each request has a name of its own, also where the unit's is fixed: one that was killed may have left its.
    files = {f"{_REQUEST}{number}.json": request, f"{_REQUEST}{number}.env": _as_environment_file(chosen)}
    written = [_write(root, name, data) for name, data in files.items()]
    shown = [f"/{FOLDER}/{name}" for name in files]
    try:
        options = _systemd_run(root, unit, shown[1], enter, until_ready=until_ready)
        program = [word.replace("$", "$$") for word in (*command, shown[0])]  # PID 1 expands variables in it
        # A terminal as its input would become the service's own: PID 1 resets it, drops what was typed ahead, and
        # its end would be the service's. Whoever has a question asks it before.
        with_input = not os.isatty(0)
        code = process.run_attached([*enter, *options, *program], with_input=with_input)
    except KeyboardInterrupt:
        raise NotFollowedError(
            "no longer followed; the change goes on", remedy=f"see how it goes: systemctl status {unit}"
        ) from None
    except AshoreError as error:
        _drop(written)
        raise UnchangedError("cannot hand over to PID 1", cause=str(error), remedy="install systemd-run") from error
    if _drop(written):
        if at_work(unit, enter):
            raise busy(unit)
        raise UnchangedError(
            "PID 1 did not start the change",
            cause=f"systemd-run {process.how_it_ended(code)}",
            remedy="its message is above; the system bus must run: systemctl status dbus",
        )
    if code:
        _forget_failed(unit, enter)  # else the host is "degraded" by a change that was told of
    if (ending := answer.take(root, f"{_REQUEST}{number}{_KILLED}")) is not None:
        if ending.code:
            raise _killed(ending, unit)
        say(f"{ending.text}; see why: journalctl -u {unit}")
        return ending.code
    return code


def leave_ending(root: str, request: str, code: int, text: str) -> None:
    """In the service's second start: what became of the change of `request`, for whoever still waits for it."""
    answer.leave(root, code, text, os.path.basename(request).removesuffix(".json") + _KILLED)


def _killed(ending: answer.Answer, unit: str) -> AshoreError:
    kinds = {kind.code: kind for kind in (UnchangedError, ChangedError, BusyError)}
    return kinds.get(ExitCode(ending.code), AshoreError)(
        "the change did not come to its end", cause=ending.text, remedy=f"see why: journalctl -u {unit}"
    )


def busy(unit: str) -> BusyError:
    """The error where the service `unit` is at work."""
    return BusyError("another ashore is at work on this host", remedy=f"see how it goes: systemctl status {unit}")


def joined(unit: str, enter: Sequence[str]) -> bool:
    """Whether `unit` was at work; then it has said by now that it is ready."""
    if not at_work(unit, enter):
        return False
    try:
        process.run([*enter, "systemctl", "start", unit], seconds=_JOIN_SECONDS)
        return True
    except AshoreError:
        return False


def take_request(path: str) -> bytes | None:
    """In the service: the request, which no longer lies there afterwards; None if it was taken before."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    _drop([path, path.removesuffix(".json") + ".env"])
    return data


def under_pid1() -> bool:
    """Whether this process is itself the main process of a service: then there is no need to hand over.

    Source: systemd.exec(5), $SYSTEMD_EXEC_PID, which a child's child inherits but does not match.
    """
    return os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())


def own_command() -> tuple[str, ...]:
    """How to run this same ashore again: the program that was started, or this Python's module."""
    if getattr(sys, "frozen", False):
        return (sys.executable,)
    started = os.path.abspath(sys.argv[0])
    if not started.endswith(".py") and os.path.isfile(started) and os.access(started, os.X_OK):
        return (started,)
    return (sys.executable, "-m", "ashore")


def _systemd_run(root: str, unit: str, environment_file: str, enter: Sequence[str], *, until_ready: bool) -> list[str]:
    return [
        "systemd-run",
        "--quiet",
        f"--unit={unit}",
        "--description=A change by ashore",
        f"--service-type={'notify' if until_ready else 'exec'}",
        "--collect",  # a failed one must not linger
        "--property=Restart=on-abnormal",  # killed: it runs again, finds no request, and recovers
        "--property=RestartSec=100ms",
        *(["--property=TimeoutStartSec=infinity"] if until_ready else ["--pipe", "--wait"]),
        f"--property=EnvironmentFile=-{environment_file}",  # gone when it runs again to recover
        *([f"--property=OnFailure={RECOVER_UNIT}"] if _has_recovery(root) else []),  # any code but 0, or killed
        *([] if enter else _working_directory()),
        "--",
    ]


def _working_directory() -> list[str]:
    try:
        return [f"--working-directory={os.getcwd()}"]
    except OSError:
        return []  # it was removed under us


def at_work(unit: str, enter: Sequence[str]) -> bool:
    """Whether the service `unit` of the host runs, or begins or ends to."""
    try:
        said = process.run([*enter, "systemctl", "show", "--property=ActiveState", unit], seconds=_SECONDS)
    except AshoreError:
        return False
    return said.stdout.partition(b"=")[2].strip() in {b"active", b"activating", b"deactivating", b"reloading"}


def _forget_failed(unit: str, enter: Sequence[str]) -> None:
    """Let PID 1 drop what is left of a failed service, which it now and then keeps in spite of ``--collect``.

    Then the name could not be used again. That there is nothing to forget is the rule.
    """
    with contextlib.suppress(AshoreError):
        process.run([*enter, "systemctl", "reset-failed", unit], seconds=_SECONDS)


def _await_unloaded(unit: str, enter: Sequence[str]) -> None:
    """Wait until the name is free: PID 1 drops what has ended only when nothing asks about it any more.

    A boot that is tried again within a second comes before that. One that is at work is not waited for.
    """
    show = [*enter, "systemctl", "show", "--property=LoadState", "--value", unit]
    with contextlib.suppress(AshoreError):
        for _ in range(_UNLOADED_CHECKS):
            if process.run(show, seconds=_SECONDS).stdout.strip() != b"loaded" or at_work(unit, enter):
                return
            time.sleep(_UNLOADED_PAUSE)


def _has_recovery(root: str) -> bool:
    return any(os.path.lexists(os.path.join(root, folder, RECOVER_UNIT)) for folder in UNIT_FOLDERS)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _as_environment_file(environment: Mapping[str, str]) -> bytes:
    """systemd.exec(5), EnvironmentFile=: quoted, so that any value stays what it is."""
    lines = []
    for name, value in environment.items():
        quoted = "".join("\\" + char if char in '\\"$`' else char for char in value)
        lines.append(f'{name}="{quoted}"\n')
    return os.fsencode("".join(lines))


def _write(root: str, name: str, data: bytes) -> str:
    folder = os.path.join(root, FOLDER)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        status = os.lstat(folder)
        if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(errno.EPERM, f"/{FOLDER} belongs to somebody else")
        os.chmod(folder, 0o700)
        path = os.path.join(folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise UnchangedError("cannot hand over to PID 1", cause=words_of(error)) from error
    return path


def _drop_stale(root: str) -> None:
    """Remove what those left who were killed before PID 1 had taken it."""
    folder = os.path.join(root, FOLDER)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name.startswith(_REQUEST) and time.time() - os.lstat(path).st_mtime > _STALE_SECONDS:
                _drop([path])


def _drop(paths: Sequence[str]) -> bool:
    """Remove what is still there; whether there was any."""
    found = False
    for path in paths:
        try:
            os.unlink(path)
            found = True
        except FileNotFoundError:
            continue
    return found
