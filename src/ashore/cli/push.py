# SPDX-License-Identifier: Apache-2.0
"""``ashore push``."""

import click

from ashore.cli.copying import carry
from ashore.cli.options import copy_options, debug_option, json_option
from ashore.errors import UsageError
from ashore.nouns import reference
from ashore.nouns.reference import Transport


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="IMAGE")
@copy_options
@json_option
@debug_option
def command(source: str, target: str, platform: str | None, referrers: str, as_json: bool) -> None:
    """Copy the image SRC (oci:DIR, oci-archive:FILE, ...) to a registry, as IMAGE."""
    if reference.parse(target).transport is not Transport.REGISTRY:
        raise UsageError(f"{target} is not in a registry", remedy="ashore copy takes any two places")
    carry(source, target, platform, referrers, rate=0, as_json=as_json)
