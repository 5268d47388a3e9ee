# SPDX-License-Identifier: Apache-2.0
"""What ends an interrupted change at the next boot: a unit of PID 1, there before a change touches anything."""

import contextlib
import os
from collections.abc import Container

from ashore.acts.tools import Tools
from ashore.errors import AshoreError, reason_of
from ashore.mechanisms.own import ownunits
from ashore.nouns.files import ancestors
from ashore.nouns.installer import RECOVER_UNIT
from ashore.rules.provision.hostunits import OURS, RECOVER_LINKS, RECOVER_PATH, recover_units

_EMPTY_AT_BOOT = {"tmp", "run", "dev"}


def place(tools: Tools, *others: Container[str]) -> bool:
    """Have it on a live host, with the program that makes this change; whether anything was written.

    Where it cannot be placed, that is said, and the change goes on. `others` are paths of bundles.
    """
    if tools.systemd is None:
        return False  # no boot of this machine is about an offline root
    try:
        path = tools.host.physical(RECOVER_PATH)
        known = tools.host.lstat(path)
        if any(path in paths for paths in others) or ownunits.is_anothers(tools.host, RECOVER_PATH, OURS):
            return False  # a mask, or somebody's own: they have decided how this host recovers
        if _goes_at_boot(tools.program[0]):
            if known is None:
                _say(tools, f"{tools.program[0]} is not there after a boot")
            return False
        tools.state.prepare()  # the unit tells that there is one
        changed = ownunits.place(tools.host, recover_units(tools.program), RECOVER_LINKS)
    except (OSError, AshoreError) as error:
        _say(tools, f"cannot write {RECOVER_UNIT}: {reason_of(error)}")
        return False
    if changed and known is not None:
        with contextlib.suppress(AshoreError):  # the boot that needs it reads it anew
            tools.systemd.daemon_reload()
    return changed


def _goes_at_boot(program: str) -> bool:
    """Whether it lies where a boot begins with nothing, or leads there."""
    paths = (program.lstrip("/"), os.path.realpath(program).lstrip("/"))
    return any(not _EMPTY_AT_BOOT.isdisjoint(ancestors(path)) for path in paths)


def _say(tools: Tools, why: str) -> None:
    tools.progress.say(f"note: after a power cut this change would wait for ashore recover: {why}")
