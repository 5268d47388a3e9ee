# SPDX-License-Identifier: Apache-2.0
"""``ashore delta``."""

import click

from ashore.cli import output
from ashore.cli.options import ROOT, debug_option, json_option
from ashore.cli.progress import shown
from ashore.cli.wiring import limits_of
from ashore.errors import UsageError
from ashore.nouns import reference
from ashore.nouns.reference import Transport


@click.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@json_option
@debug_option
def command(old: str, new: str, as_json: bool) -> None:
    """Store beside the image NEW what makes its files out of those of the image OLD: hosts that have OLD fetch less."""
    from ashore.cli.deltas import add_deltas, build_tools, in_words

    base, image = reference.parse(old), reference.parse(new)
    if image.transport is Transport.DOCKER_ARCHIVE:
        raise UsageError(f"{new} holds nothing beside its image", remedy="use oci: or oci-archive:")
    with shown() as progress:
        made = add_deltas(base, image, build_tools(progress, limits_of(ROOT)))
    if as_json:
        output.result_json({"reference": str(image), "deltas": made})
    else:
        output.result("\n".join(f"{image}: {in_words(delta)}" for delta in made) or f"{image}: nothing to save")
