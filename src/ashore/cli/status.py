# SPDX-License-Identifier: Apache-2.0
"""``ashore status``."""

import click

from ashore.acts.ask.look import Status
from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.render_drift import drift_json, drift_text
from ashore.cli.render_plan import provisional_json, provisional_text
from ashore.cli.wiring import wired
from ashore.errors import ExitCode
from ashore.nouns.amounts import size
from ashore.nouns.digest import short
from ashore.nouns.files import printable, shown


@click.command()
@click.option("--verify", is_flag=True, help="Read and hash every file, whatever its stat says.")
@click.option("--exit-code", is_flag=True, help="Exit with 10 if something waits for somebody, or has drifted.")
@root_option
@json_option
@debug_option
def command(verify: bool, exit_code: bool, root: str, as_json: bool) -> int:
    """Show the bundles, their units, and what on this host differs from what was installed."""
    from ashore.acts.ask.look import status

    with wired(root) as tools:
        found = status(tools, verify=verify)
    if as_json:
        output.result_json(status_json(found))
    else:
        output.result(status_text(found))
    return ExitCode.DIFFERS if exit_code and found.to_look_at else ExitCode.DONE


def status_text(found: Status) -> str:
    """A status for people."""
    generation = found.generation
    if not generation.bundles:
        lines = ["no bundle is installed"]
    else:
        lines = [f"generation {generation.number} ({generation.verb}, {generation.time})"]
    if generation.why:
        lines.append(f"  came by itself: {printable(generation.why)}")
    if found.late is not None:
        lines.append(f"  watched until {found.late.until}: it goes back if what it started fails")
    if found.waiting is not None:
        lines.append(f"  {provisional_text(found.waiting)}")
    if found.stuck:
        why = "its time is over" if found.waiting is not None else "it failed"
        lines.append(f"  {why}, and it could not be taken back: {printable(found.stuck)}")
    for bundle in generation.bundles:
        named = f"{bundle.name} {printable(bundle.version) or '-'}  {printable(bundle.reference)}"
        lines.append(f"  {named}  {short(bundle.digest)}")
        failed = [unit for unit in bundle.units if unit in found.units and unit not in bundle.enabled]
        for unit in (*bundle.enabled, *failed):
            state = found.units.get(unit)
            lines.append(f"    {unit}: {state.active + ' (' + state.sub + ')' if state else 'not observed'}")
    for item in found.drift:
        lines.append(f"  {drift_text(item, named=False)}")
    for digest, held in found.held.items():
        lines.append(f"  held: {held.bundle} {short(digest)} ({printable(held.reason)})")
    if found.follows or found.paused:
        until = (found.paused.until or "ashore follow --resume") if found.paused else ""
        what = "follows its tags" if found.follows else "no timer follows its tags"
        lines.append(f"  {what}" + (f", paused until {until}" if found.paused else ""))
    if found.due:
        names = ", ".join(dict.fromkeys(printable(what) for what in found.due))
        lines.append(f"  due on the booted host: {names}; the next change does it, or: ashore recover")
    if found.at_work:
        lines.append(f"  a change is at work ({found.at_work}): what it touches is not compared")
    if found.interrupted:
        lines.append("  a transaction was interrupted; run: ashore recover")
    lines += [f"  reboot needed: {printable(reason)}" for reason in found.reboot]
    lines.append(f"  store: {size(found.disk)}")
    return "\n".join(lines)


def status_json(found: Status) -> dict[str, object]:
    """A status for programs (docs/reference/json.md)."""
    return {
        "generation": found.generation.number,
        "time": found.generation.time,
        "bundles": [
            {
                "name": b.name,
                "version": b.version,
                "reference": b.reference,
                "digest": b.digest,
                "enabled": list(b.enabled),
            }
            for b in found.generation.bundles
        ],
        "units": {name: {"active": s.active, "sub": s.sub, "load": s.load} for name, s in found.units.items()},
        "drift": [drift_json(item) for item in found.drift],
        "pending": [shown(path) for path in found.pending],
        "held": [
            {"digest": digest, "bundle": h.bundle, "reference": h.reference, "reason": h.reason, "time": h.time}
            for digest, h in found.held.items()
        ],
        "interrupted": found.interrupted,
        "at_work": found.at_work,
        "due": list(found.due),
        "follow": {
            "enabled": found.follows,
            "paused": found.paused is not None,
            "until": found.paused.until if found.paused else "",
        },
        "provisional": provisional_json(found.waiting),
        "not_taken_back": found.stuck,
        "watched_until": found.late.until if found.late is not None else None,
        "reason": found.generation.why,
        "reboot": list(found.reboot),
        "disk": found.disk,
    }
