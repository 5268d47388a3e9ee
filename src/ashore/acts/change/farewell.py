# SPDX-License-Identifier: Apache-2.0
"""The last bundle is gone, and nothing is to remind of ashore: its units, its program, its folders, its state."""

import contextlib

from ashore.acts.change.discard import forgetting
from ashore.acts.change.wishes import refuse_waiting
from ashore.acts.following import disable
from ashore.acts.tools import Tools
from ashore.errors import AshoreError, UnchangedError, UsageError
from ashore.mechanisms.own import ownbuild, ownfolders, ownunits
from ashore.mechanisms.state import journal
from ashore.rules.provision.hostunits import BOOT_LINK, OURS, RECOVER_LINKS, RECOVER_PATH, RECOVER_UNITS


def farewell(tools: Tools) -> bool:
    """Take away all that ashore placed for itself; whether its program was there. Nothing can be loaded from it after.

    Cut short, it is done by the next time: the state, with what it notes, goes last.

    Raises:
        UsageError: a bundle is installed.
        UnchangedError: the disk refused, or a change waits for confirmation or was interrupted; the host's files are
            as they were.
    """
    if tools.state.fd is None:
        with forgetting():
            tools.state.sweep()
            return _take_away(tools)
    with forgetting(), tools.state.locked():
        if journal.exists(tools.state):
            raise UnchangedError("a transaction was interrupted", remedy="run: ashore recover")
        if tools.history.current().bundles:
            names = ", ".join(bundle.name for bundle in tools.history.current().bundles)
            raise UsageError(f"installed is: {names}", remedy="name what is to be removed")
        refuse_waiting(tools)
        if tools.live:
            tools.cache.clear()
        gone = _take_away(tools)
        _purge(tools)
        return gone


def unmake(tools: Tools) -> None:
    """Take away a state that was made for nothing: what was asked for first on this root was refused."""
    with contextlib.suppress(AshoreError, OSError), tools.state.locked():
        # The unit tells of a state; where it is, somebody has begun.
        if tools.state.is_bare() and not ownunits.are_there(tools.host, RECOVER_UNITS, RECOVER_LINKS):
            _purge(tools)


def _purge(tools: Tools) -> None:
    made = ownfolders.made(tools.state)
    ownfolders.drop(tools.host, made)
    tools.state.purge()
    ownfolders.drop(tools.host, made)  # those above the state as well


def boots_again(tools: Tools) -> bool:
    """Whether a boot unit is enabled, which brings its bundle again."""
    return tools.host.is_there(BOOT_LINK)


def _take_away(tools: Tools) -> bool:
    disable(tools)
    there = ownunits.are_there(tools.host, RECOVER_UNITS, RECOVER_LINKS)
    if there and not ownunits.is_anothers(tools.host, RECOVER_PATH, OURS):
        ownunits.drop(tools.host, RECOVER_UNITS, RECOVER_LINKS)
        if tools.systemd is not None:
            tools.systemd.daemon_reload()
    return ownbuild.take_away(tools.host)
