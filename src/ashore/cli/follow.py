# SPDX-License-Identifier: Apache-2.0
"""``ashore follow``."""

import click

from ashore.acts.tools import Tools
from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option, seconds_given, wait_option
from ashore.cli.service import leave_to_pid1
from ashore.cli.wiring import wired
from ashore.errors import ExitCode, UsageError
from ashore.nouns.files import printable
from ashore.nouns.follow import EVERY, Finding

_NOT = {Finding.UNREACHABLE: "could not be asked for", Finding.FAILED: "could not be upgraded"}
"""What somebody has to look at."""


@click.command()
@click.option("--enable", is_flag=True, help="Have a timer of PID 1 do it from now on.")
@click.option("--every", metavar="TIME", help="With --enable: how often; 15m if not said.")
@click.option("--disable", is_flag=True, help="Have no such timer.")
@click.option("--pause", is_flag=True, help="Do nothing until --resume, whoever asks.")
@click.option("--for", "for_time", metavar="TIME", help="With --pause: resume by itself after TIME.")
@click.option("--resume", is_flag=True, help="End a pause.")
@root_option
@json_option
@wait_option
@debug_option
def command(every: str | None, for_time: str | None, root: str, as_json: bool, **acts: bool) -> int:
    """Ask once for each bundle's tag, and install what is new: one round. What is held is not tried again."""
    asked = [name for name, given in acts.items() if given]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} do not fit together", remedy="give one of them")
    act = asked[0] if asked else None
    if (every and act != "enable") or (for_time and act != "pause"):
        raise UsageError("--every goes with --enable, --for with --pause")
    seconds = seconds_given("--every", every) if every else EVERY
    if not seconds:
        raise UsageError("--every 0 is no time between two rounds", remedy="write 15m, or run: ashore follow")
    pause = seconds_given("--for", for_time) if for_time else None
    with wired(root) as tools:
        if act is None:
            leave_to_pid1(tools)
            return _round(tools, as_json=as_json)
        said, changed = _act(tools, act, seconds, pause)
    if as_json:
        output.result_json({"act": act, "changed": changed})
    else:
        output.result(said)
    return ExitCode.DONE


def _act(tools: Tools, act: str, every: float, pause: float | None) -> tuple[str, bool]:
    from ashore.acts import following

    match act:
        case "enable":
            changed = following.enable(tools, every)
            return "the timer is enabled" + ("" if changed else " already"), changed
        case "disable":
            changed = following.disable(tools)
            return "the timer is gone" if changed else "there is no timer", changed
        case "pause":
            paused = following.pause(tools, pause)
            return f"paused until {paused.until}" if paused.until else "paused until: ashore follow --resume", True
        case _:
            changed = following.resume(tools)
            return "following again" if changed else "there was no pause", changed


def _round(tools: Tools, *, as_json: bool) -> int:
    from ashore.acts.boot.follow import follow
    from ashore.cli.render_plan import outcome_text, provisional_text

    done = follow(tools)
    for item in done.found:
        if item.finding in _NOT:
            output.say(f"{item.bundle} {_NOT[item.finding]}: {printable(item.why)}")
    if as_json:
        output.result_json(
            {
                "generation": done.generation.number,
                "changed": any(outcome.changed for outcome in done.outcomes),
                "skipped": done.skipped,
                "bundles": [
                    {
                        "name": item.bundle,
                        "reference": item.reference,
                        "finding": item.finding,
                        "digest": item.digest,
                        "why": item.why,
                    }
                    for item in done.found
                ],
            }
        )
    elif done.skipped:
        output.result(f"nothing was asked: {done.skipped}")
    else:
        lines = [f"{item.bundle}: {item.finding}" + (f" ({printable(item.why)})" if item.why else "")
                 for item in done.found if item.finding not in _NOT]  # fmt: skip
        for outcome in done.outcomes:
            lines.append(outcome_text(outcome.plan, outcome.generation, changed=outcome.changed))
            lines += [provisional_text(outcome.waiting)] if outcome.waiting else []
        output.result("\n".join(lines))
    return done.code
