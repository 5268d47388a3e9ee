# SPDX-License-Identifier: Apache-2.0
"""``ashore delta``."""

import click

from ashore.cli import output
from ashore.cli.options import ROOT, debug_option, json_option
from ashore.cli.progress import shown
from ashore.cli.wiring import image_opener, limits_of
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
    from ashore.acts.author.build import BuildTools
    from ashore.acts.author.include import load_policy
    from ashore.cli.deltas import add_deltas, in_words

    base, image = reference.parse(old), reference.parse(new)
    if image.transport is Transport.DOCKER_ARCHIVE:
        raise UsageError(f"{new} holds nothing beside its image", remedy="use oci: or oci-archive:")
    limits = limits_of(ROOT)
    with shown() as progress:
        tools = BuildTools(
            open_image=image_opener(ROOT, progress, limits),
            policy=lambda: load_policy(ROOT, limits),
            progress=progress,
            limits=limits,
        )
        made = add_deltas(base, image, tools)
    if as_json:
        output.result_json({"reference": str(image), "deltas": made})
    else:
        output.result("\n".join(f"{image}: {in_words(delta)}" for delta in made) or f"{image}: nothing to save")
