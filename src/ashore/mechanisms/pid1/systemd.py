# SPDX-License-Identifier: Apache-2.0
"""PID 1 over D-Bus (org.freedesktop.systemd1(5)): states, jobs and their results, each with a deadline.

The private socket is preferred: it needs no message bus, so it works in early boot and while the bus
itself is being restarted.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from ashore.errors import AshoreError, ExitCode, UnchangedError, words_of
from ashore.mechanisms.pid1.dbus import Call, Connection, Reply, Signal
from ashore.mechanisms.pid1.unitstate import NAME, broken, properties_of, questions, state_of
from ashore.nouns.ports import Systemd
from ashore.nouns.units import RUNNING, JobResult, UnitAction, UnitState, UnitVerb

_MANAGER = "/org/freedesktop/systemd1"
_BUS = "org.freedesktop.DBus"
_SECONDS = 25.0
"""For a plain question. PID 1 answers in milliseconds, unless it reloads."""
_RELOAD_SECONDS = 300.0
"""A daemon-reload runs all generators and reads all units."""

_METHODS = {
    UnitVerb.START: "StartUnit",
    UnitVerb.STOP: "StopUnit",
    UnitVerb.RESTART: "RestartUnit",
    UnitVerb.RELOAD: "ReloadUnit",
}
_LISTED = ["active", "reloading", "activating", "deactivating", "failed"]
_COMES_UP = ("start", "restart")
"""Jobs after which a unit runs."""


def is_live(root: str) -> bool:
    """Whether `root` is the root of PID 1, and PID 1 is systemd.

    From a container with ``--pid=host`` the host's root, mounted anywhere, is live as well.
    """
    try:
        own = os.stat(os.path.join(root, "proc", "1", "root"))
        there = os.stat(root)
    except OSError:
        return False  # no proc of that host in sight, or not root
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino) and os.path.isdir(
        os.path.join(root, "run", "systemd", "system")
    )


def _open_private(root: str) -> Connection:
    return Connection(os.path.join(root, "run", "systemd", "private"))


def _open_bus(root: str) -> Connection:
    connection = Connection(os.path.join(root, "run", "dbus", "system_bus_socket"))
    rule = f"type='signal',sender='{NAME}',interface='{NAME}.Manager',member='JobRemoved'"
    calls = [_bus("Hello"), _bus("AddMatch", "s", rule), _manager("Subscribe")]
    for reply in connection.call(calls, time.monotonic() + _SECONDS):
        if reply.error:
            connection.close()
            raise ConnectionRefusedError(111, reply.message)
    return connection


Door = Callable[[str], Connection]
"""A way to reach the systemd below a root."""
PRIVATE: Door = _open_private
BUS: Door = _open_bus


def connect(root: str, doors: Sequence[Door] = (PRIVATE, BUS)) -> Systemd:
    """Reach the systemd whose root is `root`, by the first of `doors` that opens.

    Raises:
        UnchangedError: none does.
    """
    causes = []
    for door in doors:
        try:
            return DBusSystemd(partial(door, root))
        except OSError as error:
            causes.append(words_of(error))
    raise UnchangedError(
        "cannot reach systemd",
        cause="; ".join(dict.fromkeys(causes)),
        remedy="run as root on a host booted with systemd, or give another --root: an offline root starts no unit",
    )


class DBusSystemd:
    """The real `ports.Systemd`. A connection that PID 1 dropped (it re-executed itself) is opened anew."""

    def __init__(self, opener: Callable[[], Connection]) -> None:
        self._opener = opener
        self._connection = opener()

    def states(self, units: Iterable[str]) -> Mapping[str, UnitState]:
        names = list(dict.fromkeys(units))
        loaded = self._ask([_manager("LoadUnit", "s", unit) for unit in names])
        found = {name: broken(name, reply) for name, reply in zip(names, loaded, strict=True)}
        paths = {name: reply.values[0] for name, reply in zip(names, loaded, strict=True) if not reply.error}
        calls = [(name, call) for name, path in paths.items() for call in questions(name, path)]
        answers: dict[str, dict[str, object]] = {name: {} for name in paths}
        for (name, call), reply in zip(calls, self._ask([call for _, call in calls]), strict=True):
            if not reply.error:
                answers[name] |= properties_of(call, reply)
        return found | {name: state_of(name, properties) for name, properties in answers.items()}

    def listed(self) -> tuple[str, ...]:
        (reply,) = self._ask([_manager("ListUnitsFiltered", "as", _LISTED)])
        if reply.error:
            raise AshoreError("systemd did not list its units", cause=reply.message)
        return tuple(str(unit[0]) for unit in reply.values[0])

    def running(self) -> tuple[str, ...]:
        (reply,) = self._ask([_manager("ListUnits")])
        if reply.error:
            raise AshoreError("systemd did not list its units", cause=reply.message)
        return tuple(str(unit[0]) for unit in reply.values[0] if unit[3] in RUNNING or unit[8] in _COMES_UP)

    def daemon_reload(self) -> None:
        (reply,) = self._ask([_manager("Reload")], seconds=_RELOAD_SECONDS)
        if reply.error:
            raise AshoreError("systemd did not reload its units", cause=reply.message)

    def start_later(self, units: Iterable[str]) -> None:
        self._ask([_manager("StartUnit", "ss", unit, "replace") for unit in units], again=False)

    def run_later(self, actions: Sequence[UnitAction]) -> None:
        self._ask([_manager(_method(a), "ss", a.unit, "replace") for a in actions], again=False)

    def start_service(self, unit: str, argv: Sequence[str], description: str) -> None:
        properties = [
            *(("Description", ("s", description)), ("CollectMode", ("s", "inactive-or-failed"))),
            ("Restart", ("s", "on-abnormal")),
            ("SuccessExitStatus", ("(aiai)", ([ExitCode.INTERRUPTED], []))),  # who ends it has not made it fail
            ("ExecStart", ("a(sasb)", [(argv[0], [word.replace("$", "$$") for word in argv], False)])),
        ]
        signature = "ssa(sv)a(sa(sv))"
        (reply,) = self._ask([_manager("StartTransientUnit", signature, unit, "fail", properties, [])], again=False)
        if reply.error and not reply.error.endswith(".UnitExists"):
            raise AshoreError(f"systemd did not start {unit}", cause=reply.message)

    def reset_failed(self, units: Iterable[str]) -> None:
        # A unit that is not loaded has no failure to forget: its error says only that.
        self._ask([_manager("ResetFailedUnit", "s", unit) for unit in units])

    def run(self, actions: Sequence[UnitAction], deadline: float) -> tuple[JobResult, ...]:
        end = time.monotonic() + deadline
        results = self._queued([a for a in actions if not a.follows], end)
        if all(result.ok for result in results):
            # Their own restart beside the one that PID 1 gave them would be a second, had that one ended already.
            results += self._queued([a for a in actions if a.follows], end)
        return results

    def _queued(self, actions: Sequence[UnitAction], end: float) -> tuple[JobResult, ...]:
        """One job for each, all at once, until the monotonic time `end`."""
        replies = self._ask([_manager(_method(a), "ss", a.unit, "replace") for a in actions], again=False)
        jobs = {str(reply.values[0]) for reply in replies if not reply.error}
        ended = self._wait(jobs, end)
        self._cancel(jobs - ended.keys())
        results = [_result(a, reply, ended) for a, reply in zip(actions, replies, strict=True)]
        return tuple(self._explained(results))

    def _wait(self, jobs: set[str], end: float) -> dict[str, str]:
        """How each job ended, by its path; those that did not in time are missing."""
        ended: dict[str, str] = {}
        while jobs - ended.keys():
            try:
                signal = self._connection.signal(end)
            except OSError as error:
                raise _lost(error) from error
            if signal is None:
                break
            if _is_job_removed(signal):
                _, job, _, result = signal.values
                ended[job] = result
        return ended

    def _cancel(self, jobs: set[str]) -> None:
        # One that ended meanwhile answers with an error that means no more than that.
        self._ask([_manager("CancelJob", "u", int(job.rpartition("/")[2])) for job in sorted(jobs)])

    def _explained(self, results: Sequence[JobResult]) -> Iterable[JobResult]:
        """Add to failures what PID 1 knows about them."""
        failed = [r.unit for r in results if not r.ok and not r.detail]
        states = self._ask_details(failed) if failed else {}
        for result in results:
            detail = result.detail or states.get(result.unit, "")
            yield JobResult(unit=result.unit, verb=result.verb, result=result.result, detail=detail)

    def _ask_details(self, units: Sequence[str]) -> dict[str, str]:
        return {
            name: state.result if state.active == "failed" else f"{state.active} ({state.sub})"
            for name, state in self.states(units).items()
        }

    def _ask(self, calls: Sequence[Call], *, seconds: float = _SECONDS, again: bool = True) -> list[Reply]:
        """All replies. With `again`, a dropped connection is opened anew and everything asked once more."""
        if not calls:
            return []
        try:
            return self._connection.call(calls, time.monotonic() + seconds)
        except OSError as error:
            if not again:
                raise _lost(error) from error
        try:
            self._connection.close()
            self._connection = self._opener()
            return self._connection.call(calls, time.monotonic() + seconds)
        except OSError as error:
            raise _lost(error) from error


def _lost(error: OSError) -> AshoreError:
    return AshoreError(
        "the connection to systemd broke",
        cause=words_of(error),
        remedy="see whether PID 1 is alive: systemctl status",
    )


def _method(action: UnitAction) -> str:
    """To start what runs, or is restarting, is to wait until it does."""
    return "StartUnit" if action.follows else _METHODS[action.verb]


def _manager(method: str, signature: str = "", *arguments: object) -> Call:
    return Call(
        destination=NAME,
        path=_MANAGER,
        interface=f"{NAME}.Manager",
        method=method,
        signature=signature,
        arguments=arguments,
    )


def _bus(method: str, signature: str = "", *arguments: object) -> Call:
    return Call(
        destination=_BUS,
        path="/org/freedesktop/DBus",
        interface=_BUS,
        method=method,
        signature=signature,
        arguments=arguments,
    )


def _is_job_removed(signal: Signal) -> bool:
    return (signal.interface, signal.member) == (f"{NAME}.Manager", "JobRemoved")


def _result(action: UnitAction, reply: Reply, ended: Mapping[str, str]) -> JobResult:
    if reply.error.endswith(".NoSuchUnit") and action.verb is UnitVerb.STOP:
        return JobResult(unit=action.unit, verb=action.verb, result="skipped", detail="there is no such unit")
    if reply.error:
        return JobResult(unit=action.unit, verb=action.verb, result="invalid", detail=reply.message)
    return JobResult(unit=action.unit, verb=action.verb, result=ended.get(str(reply.values[0]), "timeout"))
