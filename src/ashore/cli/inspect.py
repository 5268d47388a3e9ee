# SPDX-License-Identifier: Apache-2.0
"""``ashore inspect``."""

import click
import msgspec

from ashore.cli import output
from ashore.cli.options import debug_option, image_options, json_option, root_option
from ashore.cli.wiring import asks, wired


@click.command()
@click.argument("image", metavar="IMAGE")
@click.option("--platform", metavar="OS/ARCH", help="The image of an index to look at (default: this host's).")
@root_option
@image_options
@json_option
@debug_option
def command(image: str, platform: str | None, root: str, root_in_image: str, as_json: bool) -> None:
    """Show what IMAGE would bring: its manifest, files, values and units."""
    from ashore.acts.author.inspect import inspect
    from ashore.cli.render_inspection import inspection_text
    from ashore.rules.images.packing import parse_platform

    (wanted,) = asks([image])
    with wired(root) as tools:
        if platform:
            tools = msgspec.structs.replace(tools, asked=parse_platform(platform))
        found = inspect(tools, wanted.reference, root_in_image=root_in_image)
    if as_json:
        output.result_json(found)
    else:
        output.result(inspection_text(found))
