# SPDX-License-Identifier: Apache-2.0
"""``ashore hand-over``: the entry point of an installer image. Not listed: a container engine runs it."""

import os

import click

from ashore.cli import output
from ashore.cli.options import debug_option
from ashore.cli.service import Request, bring_to_pid1, followed
from ashore.errors import ExitCode, UnchangedError, UsageError

HOST = "/rootfs"


@click.command("hand-over", hidden=True)
@click.option("--root", default=HOST, show_default=True, metavar="DIR", help="Where the host's root is mounted.")
@click.option(
    "--reference",
    default="",
    metavar="IMAGE",
    help="What to record as the image's name; without it, that which it was built for.",
)
@click.option("--boot", is_flag=True, help="Return when units may start: health is watched without us.")
@debug_option
def command(root: str, reference: str, boot: bool) -> int:
    """Install the bundle that this image carries on the host at DIR."""
    from ashore.acts.boot.hand_over import check_host, is_first, place, read_card, withdraw
    from ashore.acts.tools import open_root
    from ashore.mechanisms.own.ownbuild import locate
    from ashore.mechanisms.pid1.handover import at_work, busy, own_command
    from ashore.rules.provision.hostunits import SETTLE_UNIT

    top = os.path.dirname(os.path.dirname(locate(None)))
    card = read_card(top)
    name = reference or card.reference
    if not name:
        raise UsageError("the image does not know its own name", remedy="add: --reference REGISTRY/NAME:TAG")
    check_host(root)
    enter = (*own_command(), "enter-host", root, "--")
    # Before anything is placed: one that is at work may be about to read what another installer brought.
    if at_work(SETTLE_UNIT, enter):
        if boot and followed(enter):
            return ExitCode.DONE
        raise busy(SETTLE_UNIT)
    with open_root(root)[0] as host:
        first = is_first(host)
        placed = place(host, top, card, enter)
    output.say(f"ashore {card.version} is at /{placed.program}; PID 1 of the host goes on")
    # Who copied the image to another registry has it in no other name than the one that it was built for.
    output.say(f"recorded as {name}" + ("" if reference else " (another name: --reference REGISTRY/NAME:TAG)"))
    how = (*(() if boot else ("--follow",)), *(("--first",) if first else ()))
    request = Request(("boot", name, "--brought", f"/{placed.layout}", *how))
    try:
        return bring_to_pid1(root, request, (f"/{placed.program}",), enter, until_ready=boot)
    except UnchangedError:  # it did not begin
        if first:
            with open_root(root)[0] as host:
                withdraw(host, placed.program)
        raise
