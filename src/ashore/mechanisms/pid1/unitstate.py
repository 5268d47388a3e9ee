# SPDX-License-Identifier: Apache-2.0
"""What PID 1 says about a unit, as a state: which properties to ask for, and how to read them."""

from collections.abc import Iterable, Mapping
from functools import partial

from ashore.mechanisms.pid1.dbus import Call, Reply
from ashore.nouns.units import UnitState

NAME = "org.freedesktop.systemd1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_RESULT_TYPES = ("service", "socket", "timer", "path", "mount", "automount", "swap", "scope")
"""Unit types with a `Result` property of their own."""
_NEEDED_BY = ("RequiredBy", "RequisiteOf", "BoundBy")
_WANTED_BY = ("WantedBy", "UpheldBy", "TriggeredBy")
_PULLS = ("Requires", "BindsTo", "Wants", "Upholds")
_FOLLOWED_BY = ("ConsistsOf", "PropagatesStopTo")
_SERVICE_PROPERTIES = ("Result", "Type", "NRestarts", "MainPID", "ExecMainStatus", "ExecMainExitTimestampMonotonic")


def questions(unit: str, path: str) -> Iterable[Call]:
    """What to ask about a unit: all of its general properties, and the few of its type that matter."""
    ask = partial(Call, destination=NAME, path=path, interface=_PROPERTIES)
    yield ask(method="GetAll", signature="s", arguments=(f"{NAME}.Unit",))
    kind = unit.rpartition(".")[2]
    if kind in _RESULT_TYPES:
        for name in _SERVICE_PROPERTIES if kind == "service" else ("Result",):
            interface = f"{NAME}.{kind.capitalize()}"
            yield ask(method="Get", signature="ss", arguments=(interface, name))


def properties_of(call: Call, reply: Reply) -> dict[str, object]:
    """The values that answer one of `questions`, by property."""
    if call.method == "Get":
        return {call.arguments[1]: reply.values[0][1]}
    return {name: value for name, (_, value) in reply.values[0].items()}


def state_of(name: str, properties: Mapping[str, object]) -> UnitState:
    """The state of a unit by all that was answered; what was not has its usual value."""
    invocation = properties.get("InvocationID", b"")
    return UnitState(
        name=name,
        load=str(properties.get("LoadState", "error")),
        active=str(properties.get("ActiveState", "inactive")),
        sub=str(properties.get("SubState", "")),
        result=str(properties.get("Result", "success")),
        type=str(properties.get("Type", "")),
        restarts=_number(properties.get("NRestarts")),
        invocation=bytes(invocation).hex() if isinstance(invocation, (bytes, list)) else "",
        main_pid=_number(properties.get("MainPID")),
        can_reload=bool(properties.get("CanReload", False)),
        can_start=bool(properties.get("CanStart", True)),
        can_stop=bool(properties.get("CanStop", True)),
        stopped=_was_stopped(properties),
        # Before the first try there is no result, and systemd says false.
        condition=bool(properties.get("ConditionResult", True)) or not properties.get("ConditionTimestamp"),
        needed_by=_names(properties, *_NEEDED_BY),
        followed_by=_names(properties, *_FOLLOWED_BY),
        wanted_by=_names(properties, *_WANTED_BY),
        pulls=_names(properties, *_PULLS),
        conflicts=_names(properties, "Conflicts"),
        conflicted_by=_names(properties, "ConflictedBy"),
        triggers=_names(properties, "Triggers"),
    )


def _was_stopped(properties: Mapping[str, object]) -> bool:
    """What ends by itself is seen to end before it leaves its active state; what is stopped leaves that first."""
    left, ended = (_number(properties.get(f"{of}ExitTimestampMonotonic")) for of in ("Active", "ExecMain"))
    return 0 < left < ended


def _names(properties: Mapping[str, object], *keys: str) -> tuple[str, ...]:
    return tuple({name: None for key in keys if isinstance(names := properties.get(key), list) for name in names})


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def broken(name: str, reply: Reply) -> UnitState:
    """The state of what PID 1 does not take for a unit at all."""
    return UnitState(name=name, load="error", active="inactive", result=reply.error.rpartition(".")[2])
