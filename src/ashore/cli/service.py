# SPDX-License-Identifier: Apache-2.0
"""A change of a live root is carried out by a service of PID 1; this command line only follows it."""

import contextlib
import os
import sys
from collections.abc import Sequence

import click
import msgspec

from ashore.acts.tools import Tools
from ashore.errors import AshoreError, ExitCode

_INSIDE = "ASHORE_CARRIES_OUT"
"""Set for whoever runs inside the service: there is no second hand-over."""


class Request(msgspec.Struct, frozen=True):
    """The command line that the service carries out."""

    arguments: tuple[str, ...]


def leave_to_pid1(tools: Tools) -> None:
    """Hand this command line over, and end with its exit code. Returns where it is to be done here.

    It is done here on an offline root, inside the service, and in any unit's own process.

    Raises:
        click.exceptions.Exit: it is done.
    """
    from ashore.cli import output
    from ashore.mechanisms.pid1.handover import hand_over, own_command, under_pid1

    if not tools.live or _INSIDE in os.environ or under_pid1():
        return
    request = Request(arguments=tuple(sys.argv[1:]))
    sys.stdout.flush()
    command = (*own_command(), "carry-out")
    code = hand_over(msgspec.json.encode(request), root=tools.host.root, command=command, say=output.say)
    raise click.exceptions.Exit(code)


def settled_by_pid1(tools: Tools, *, follow: bool) -> int | None:
    """Hand a boot's command line to ``ashore-settle.service``, which starts units that wait for the boot unit.

    Returns when their files are in place (`follow`: when they are healthy); None where it is to be done here. A
    change that is at work already, with nobody left who follows it, is followed instead.
    """
    from ashore.acts.transaction import recovery
    from ashore.mechanisms.pid1.handover import own_command

    if not tools.live or _INSIDE in os.environ:
        return None
    if not follow and followed(()):
        return ExitCode.DONE
    # With the lock: who was refused meanwhile, and takes its own first state away, would take this one from the unit.
    # Where it cannot be had, the service says why, or places the unit before it changes anything.
    with contextlib.suppress(AshoreError), tools.state.locked():
        recovery.place(tools)
    return bring_to_pid1(
        tools.host.root, Request(arguments=tuple(sys.argv[1:])), own_command(), (), until_ready=not follow
    )


def bring_to_pid1(
    root: str, request: Request, program: Sequence[str], enter: Sequence[str], *, until_ready: bool
) -> int:
    """Have `program` carry out `request` as ``ashore-settle.service`` of the host at `root`; its exit code."""
    from ashore.cli import output
    from ashore.mechanisms.pid1 import answer
    from ashore.mechanisms.pid1.handover import hand_over
    from ashore.rules.provision.hostunits import SETTLE, SETTLE_UNIT

    sys.stdout.flush()
    answer.take(root)
    code = hand_over(
        msgspec.json.encode(request),
        root=root,
        command=(*program, "carry-out"),
        identifier=SETTLE,
        enter=enter,
        environment={} if enter else None,
        until_ready=until_ready,
        say=output.say,
    )
    said = answer.take(root)
    if not until_ready or said is None:
        if code == 0 and until_ready:
            output.say(f"the files are in place, units start; how it ends: journalctl -u {SETTLE_UNIT}")
        elif until_ready:
            output.say(f"error: the change ended before its files were in place; see why: journalctl -u {SETTLE_UNIT}")
        return code
    if said.code:
        output.say(f"error: {said.text}")
    else:
        output.result(said.text)
    return said.code


def followed(enter: Sequence[str]) -> bool:
    """Whether a boot's change was at work, with nobody left who followed it; then its files are in place by now."""
    from ashore.cli import output
    from ashore.mechanisms.pid1.handover import joined
    from ashore.rules.provision.hostunits import SETTLE_UNIT

    if not joined(SETTLE_UNIT, enter):
        return False
    output.say(f"a change is at work already; how it ends: journalctl -u {SETTLE_UNIT}")
    return True


def begin(path: str) -> Request:
    """In the service: take the request, and outlive whoever reads the output.

    Without a request this is the second start, after a kill: then there is something to recover.
    """
    from ashore.mechanisms.output import survive_lost_output
    from ashore.mechanisms.pid1.handover import take_request

    survive_lost_output()
    os.environ[_INSIDE] = "1"
    request = take_request(path)
    if request is None:
        return Request(arguments=("recover", "--after-kill", path))
    return msgspec.json.decode(request, type=Request)


def leave_ending(root: str, request: str, code: int, text: str) -> None:
    """In that second start: what became of the change, for whoever waits for it and hears nothing any more."""
    from ashore.mechanisms.pid1 import handover

    handover.leave_ending(root, request, code, text)
