# SPDX-License-Identifier: Apache-2.0
"""What systemd knows of a unit, and what a plan asks of it."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

UNIT_FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "usr/local/lib/systemd/system", "lib/systemd/system")
"""Where shipped unit files may lie (systemd.unit(5)); the last is the first-but-one on usr-merged hosts."""
UNIT_SUFFIXES = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice")
ADMIN_FOLDER = "etc/systemd/system"
"""Where enablement symlinks lie."""
PULLING = (".wants", ".requires", ".upholds")
"""How the folders end whose symlinks make a unit pull in others."""

RUNTIME_FOLDER = "run/systemd/system"
"""The administrator's until the next boot: masks, most of all."""


RUNNING = frozenset({"active", "reloading", "activating"})
"""Active states of what runs."""


class UnitState(msgspec.Struct, frozen=True, kw_only=True):
    """A unit as PID 1 sees it (org.freedesktop.systemd1.Unit)."""

    name: str
    load: str
    """``loaded``, ``masked``, ``not-found``, ``bad-setting``, ``error``."""
    active: str
    """``active``, ``reloading``, ``inactive``, ``failed``, ``activating``, ``deactivating``."""
    sub: str = ""
    result: str = "success"
    type: str = ""
    """A service's ``Type=``."""
    restarts: int = 0
    invocation: str = ""
    main_pid: int = 0
    can_reload: bool = False
    can_start: bool = True
    """False also for what is not loaded; of what is, it may be started only as what another unit needs."""
    can_stop: bool = True
    stopped: bool = False
    """A service whose stop began before its program ended: somebody, or PID 1, asked for it."""
    condition: bool = True
    """False: its last start was skipped, since a ``Condition...=`` did not hold."""
    needed_by: tuple[str, ...] = ()
    """Units that stop and restart with it and cannot run without it: theirs is a ``Requires=``, ``BindsTo=``."""
    followed_by: tuple[str, ...] = ()
    """Units that stop and restart with it, and could run without it: theirs is a ``PartOf=``."""
    wanted_by: tuple[str, ...] = ()
    """Loaded units that pull it in, and could run without it: theirs is a ``Wants=``, ``Upholds=``, or a trigger."""
    pulls: tuple[str, ...] = ()
    """What starts with it: its ``Requires=``, ``BindsTo=``, ``Wants=``, ``Upholds=``."""
    conflicts: tuple[str, ...] = ()
    """What stops when it starts."""
    conflicted_by: tuple[str, ...] = ()
    """Loaded units that say so of it."""
    triggers: tuple[str, ...] = ()
    """What a socket, timer or path unit starts."""

    @property
    def running(self) -> bool:
        return self.active in RUNNING


class UnitVerb(StrEnum):
    STOP = "stop"
    START = "start"
    RESTART = "restart"
    RELOAD = "reload"


class UnitAction(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask of PID 1, and why."""

    verb: UnitVerb
    unit: str
    reason: str
    follows: str = ""
    """The unit that takes it down: PID 1 restarts the two together, or leaves it to us to bring this one back."""


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended: ``done``, ``failed``, ``timeout``, ``dependency``, ``canceled``, ``skipped``, ``invalid``."""

    unit: str
    verb: UnitVerb
    result: str
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.result in {"done", "skipped"}


class Enablement(msgspec.Struct, frozen=True, kw_only=True):
    """A symlink that enables a unit: ``etc/systemd/system/multi-user.target.wants/x.service``."""

    unit: str
    path: str
    target: str


class HostUnits(msgspec.Struct, frozen=True, kw_only=True):
    """What planning knows of units beyond those of bundles.

    `listed` are the units that run or have failed; `texts` their unit files and drop-ins as they lie on the
    host, by path; `mapped` the changed files that a unit's processes have in memory, by unit: a service,
    or what else they run in; `links` the folders below the root and ``usr`` that are symlinks, with
    where they lead (on CoreOS ``opt`` to ``var/opt``), and the symlinks of bundles.
    """

    listed: tuple[str, ...] = ()
    texts: Mapping[str, str] = {}
    mapped: Mapping[str, tuple[str, ...]] = {}
    links: Mapping[str, str] = {}
    pulled: frozenset[str] = frozenset()
    """Of the units whose mask goes, or that no bundle enables any more, those that a ``.wants`` or ``.requires`` folder
    of the host will still have."""
