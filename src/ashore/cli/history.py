# SPDX-License-Identifier: Apache-2.0
"""``ashore history``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.wiring import wired
from ashore.nouns.confirm import NOT_CONFIRMED
from ashore.nouns.digest import short
from ashore.nouns.files import Entry, Kind, printable, shown
from ashore.nouns.generation import Generation


@click.command()
@root_option
@json_option
@debug_option
def command(root: str, as_json: bool) -> None:
    """List the kept generations, and the edits that were moved aside, newest last."""
    with wired(root) as tools:
        generations = list(tools.history.all())
        current = tools.history.current().number
        edits = tools.history.edits()
        discarded = tools.history.discarded()
    if as_json:
        output.result_json(
            {
                "current": current,
                "generations": [
                    {
                        "number": g.number,
                        "transaction": g.transaction,
                        "time": g.time,
                        "verb": g.verb,
                        "restores": g.restores or None,
                        "taken_back": g.taken_back,
                        "reason": _why(g),
                        "bundles": [{"name": b.name, "version": b.version, "digest": b.digest} for b in g.bundles],
                        "displaced": [{"path": shown(p)} | _kept_json(e) for p, e in _edits(g, discarded)],
                    }
                    for g in generations
                ],
                "edits": [
                    {"path": shown(e.path), "generation": e.generation} | _kept_json(e.entry) for e in edits
                ],
            }
        )
        return
    lines = [] if generations else ["no generation is recorded"]
    for g in generations:
        mark = "*" if g.number == current else " "
        back = f" to {g.restores}" if g.restores else ""
        back += f", {printable(g.why)}" if g.why else ", not confirmed" if g.taken_back else ""
        bundles = (
            ", ".join(f"{b.name} {printable(b.version) or short(b.digest)}" for b in g.bundles) or "nothing installed"
        )
        lines.append(f"{mark} {g.number}  {g.time}  {g.verb}{back}  {bundles}")
        lines += [f"      edit of {shown(p)} {_kept(e)}" for p, e in _edits(g, discarded)]
    lines += [f"  edit of {shown(e.path)} (generation {e.generation}) {_kept(e.entry)}" for e in edits]
    output.result("\n".join(lines))


def _kept(entry: Entry) -> str:
    return f"was a symlink to {printable(entry.target)}" if entry.kind is Kind.SYMLINK else f"kept as {entry.digest}"


def _kept_json(entry: Entry) -> dict[str, object]:
    return {"digest": entry.digest, "target": printable(entry.target)}


def _why(generation: Generation) -> str:
    """Why it came by itself; empty if somebody asked for it."""
    return generation.why or (NOT_CONFIRMED if generation.taken_back else "")


def _edits(generation: Generation, discarded: int) -> list[tuple[str, Entry]]:
    """What a generation moved aside and nobody has given up since."""
    return list(generation.displaced.items()) if generation.number > discarded else []
