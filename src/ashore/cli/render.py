# SPDX-License-Identifier: Apache-2.0
"""``ashore render``."""

import click

from ashore.cli import output
from ashore.cli.options import Given, debug_option, image_options, root_option, values_options
from ashore.cli.wiring import asks, wired
from ashore.errors import UsageError
from ashore.nouns import reference as references


@click.command()
@click.argument("path", metavar="FILE")
@click.option("--image", default="", metavar="IMAGE", help="The image; default: that of the bundle which owns FILE.")
@root_option
@values_options
@image_options
@debug_option
def command(
    path: str,
    image: str,
    root: str,
    given: Given,
    root_in_image: str,
) -> None:
    """Print FILE as the bundle renders it for this host; nothing is changed."""
    from ashore.acts.ask.look import owns
    from ashore.acts.ask.render import render_file

    with wired(root, facts_file=given.facts_file) as tools:
        if not image:
            owner = owns(tools, path)
            record = tools.history.current().bundle(owner.bundle) if owner else None
            if record is None:
                raise UsageError(f"no bundle owns {path}", remedy="name the image: --image IMAGE")
            image, root_in_image = record.reference, record.root_in_image
            image = str(references.parse(image).pinned(record.digest))
        ask = asks([image], given, root_in_image=root_in_image)[0]
        data = render_file(tools, ask, path)
    output.result_bytes(data)
