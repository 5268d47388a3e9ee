# SPDX-License-Identifier: Apache-2.0
"""A change of a live root is carried out by a service of PID 1; this command line only follows it."""

import os
import signal
import sys

import msgspec

from ashore.acts.tools import Tools

_INSIDE = "ASHORE_CARRIES_OUT"
"""Set for whoever runs inside the service: there is no second hand-over."""


class Request(msgspec.Struct, frozen=True):
    """The command line that the service carries out."""

    arguments: tuple[str, ...]


def carried_out_by_pid1(tools: Tools) -> int | None:
    """Hand this command line over and return its exit code; None where it is to be done here.

    It is done here on an offline root, inside the service, and in any unit's own process.
    """
    from ashore.mechanisms.handover import hand_over, own_command, under_pid1

    if not tools.live or _INSIDE in os.environ or under_pid1():
        return None
    request = Request(arguments=tuple(sys.argv[1:]))
    sys.stdout.flush()
    return hand_over(msgspec.json.encode(request), root=tools.host.root, command=(*own_command(), "carry-out"))


def begin(path: str) -> Request:
    """In the service: take the request, outlive whoever reads the output, and go back in order when stopped.

    Without a request this is the second start, after a kill: then there is something to recover.
    """
    from ashore.mechanisms.handover import take_request
    from ashore.mechanisms.output import survive_lost_output

    survive_lost_output()
    os.environ[_INSIDE] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    request = take_request(path)
    if request is None:
        return Request(arguments=("recover", "--after-kill"))
    return msgspec.json.decode(request, type=Request)
