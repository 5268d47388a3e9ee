# SPDX-License-Identifier: Apache-2.0
"""``ashore history``."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, json_option, root_option
from ashore.cli.render_plan import bundles_json
from ashore.cli.wiring import wired
from ashore.nouns.confirm import NOT_CONFIRMED
from ashore.nouns.digest import short
from ashore.nouns.files import Kind, format_mode, printable, shown
from ashore.nouns.generation import Generation
from ashore.nouns.journal import Edit
from ashore.rules.files.retention import edits_of


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
                        "bundles": bundles_json(g.bundles),
                        "displaced": [_moved(e) for e in _edits(g, discarded)],
                    }
                    for g in generations
                ],
                "edits": [{**_moved(e), "generation": e.generation} for e in edits],
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
        lines += [f"      {_what(e)} {_kept(e)}" for e in _edits(g, discarded)]
    lines += [f"  {_what(e)} (generation {e.generation}) {_kept(e)}" for e in edits]
    output.result("\n".join(lines))


def _what(edit: Edit) -> str:
    return f"{'original' if edit.original else 'edit'} of {shown(edit.path)}"


def _kept(edit: Edit) -> str:
    match edit.entry.kind:
        case Kind.SYMLINK:
            return f"was a symlink to {printable(edit.entry.target)}"
        case Kind.DIR:
            return f"was a folder with mode {format_mode(edit.entry.mode)}"
        case Kind.OTHER:
            return "was a device, FIFO or socket, and is gone"
        case _:
            return f"kept as {edit.entry.digest}"


def _moved(edit: Edit) -> dict[str, object]:
    target = printable(edit.entry.target)
    return {"path": shown(edit.path), "digest": edit.digest, "target": target, "original": edit.original}


def _why(generation: Generation) -> str:
    """Why it came by itself; empty if somebody asked for it."""
    return generation.why or (NOT_CONFIRMED if generation.taken_back else "")


def _edits(generation: Generation, discarded: int) -> list[Edit]:
    """What a generation moved aside and nobody has given up since."""
    return edits_of(generation) if generation.number > discarded else []
