# SPDX-License-Identifier: Apache-2.0
"""``ashore pull``."""

import click

from ashore.cli.copying import carry
from ashore.cli.options import copy_options, debug_option, json_option, rate_option
from ashore.errors import UsageError
from ashore.nouns import reference
from ashore.nouns.reference import Transport


@click.command()
@click.argument("source", metavar="IMAGE")
@click.argument("target", metavar="DST")
@copy_options
@json_option
@rate_option
@debug_option
def command(source: str, target: str, platform: str | None, referrers: str, limit_rate: int, as_json: bool) -> None:
    """Copy IMAGE from a registry to DST (oci:DIR, oci-archive:FILE, docker-archive:FILE)."""
    if reference.parse(source).transport is not Transport.REGISTRY:
        raise UsageError(f"{source} is not in a registry", remedy="ashore copy takes any two places")
    carry(source, target, platform, referrers, rate=limit_rate, as_json=as_json)
