# SPDX-License-Identifier: Apache-2.0
"""``ashore copy``."""

import click

from ashore.cli.copying import carry
from ashore.cli.options import copy_options, debug_option, json_option, rate_option


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@copy_options
@json_option
@rate_option
@debug_option
def command(source: str, target: str, platform: str | None, referrers: str, limit_rate: int, as_json: bool) -> None:
    """Copy an image from SRC to DST, each docker://, oci:, oci-archive: or docker-archive:."""
    carry(source, target, platform, referrers, rate=limit_rate, as_json=as_json)
