# SPDX-License-Identifier: Apache-2.0
"""What push, pull and copy share: two references, one call, one line."""

from ashore.cli import output
from ashore.cli.options import ROOT
from ashore.cli.progress import shown
from ashore.cli.wiring import at_rate, image_opener, image_writer, limits_of
from ashore.nouns import reference


def carry(source: str, target: str, platform: str | None, referrers: str, *, rate: int, as_json: bool) -> None:
    """Copy `source` to `target`, and say what is there now."""
    from ashore.acts.author.attached import Carried
    from ashore.acts.author.copy import copy
    from ashore.rules.images.packing import parse_platform

    origin, goal = reference.parse(source), reference.parse(target)
    wanted = parse_platform(platform) if platform else None
    with shown() as progress:
        limits = at_rate(limits_of(ROOT), rate)
        reader = image_opener(ROOT, progress, limits)(origin)
        with image_writer(ROOT, goal, progress, limits) as writer:
            carried = Carried(referrers)
            digest = copy(
                origin, reader, goal, writer, progress=progress, limits=limits, platform=wanted, carried=carried
            )
    if as_json:
        output.result_json({"reference": str(goal), "digest": digest})
    else:
        output.result(f"{goal}@{digest}")
