# SPDX-License-Identifier: Apache-2.0
"""What `build` and `delta` share: an author's tools; and deltas made, stored beside their image, and told."""

from collections.abc import Mapping
from functools import partial

import msgspec

from ashore.acts.author.attached import Attached, Carried, put
from ashore.acts.author.buildtools import BuildTools
from ashore.acts.author.copy import copy
from ashore.acts.author.delta import Made, make_deltas
from ashore.acts.fetch.policy import admitted_below
from ashore.cli.options import ROOT
from ashore.cli.wiring import image_opener, image_writer
from ashore.nouns.amounts import size
from ashore.nouns.digest import short
from ashore.nouns.limits import Limits
from ashore.nouns.ports import Progress
from ashore.nouns.reference import DEFAULT_TAG, ImageReference, Transport


def build_tools(progress: Progress, limits: Limits, folders: Mapping[str, str] | None = None) -> BuildTools:
    """What an author's command works with: registries and policy are this machine's."""
    return BuildTools(
        open_image=image_opener(ROOT, progress, limits),
        admitted=partial(admitted_below, ROOT, limits=limits),
        progress=progress,
        limits=limits,
        folders=folders or {},
    )


def add_deltas(old: ImageReference, new: ImageReference, tools: BuildTools, *, own: bool = False) -> tuple[Made, ...]:
    """Make a delta from `old` of each image of `new`, and store it there."""

    def store(attached: Attached) -> None:
        with image_writer(ROOT, _by_name(new), tools.progress, tools.limits) as writer:
            if new.transport is not Transport.ARCHIVE:
                put(attached, writer)
                return
            reader, carried = tools.open_image(new), Carried.ALL  # an archive is written anew as a whole
            copy(
                new,
                reader,
                new,
                writer,
                progress=tools.progress,
                limits=tools.limits,
                carried=carried,
                added=[attached],
            )

    made = make_deltas(old, new, tools, store, own=own)
    if own:
        for delta in made:
            tools.progress.say(in_words(delta))
    return made


def in_words(delta: Made) -> str:
    """A line for people."""
    return (
        f"delta of {short(delta.image)} from {short(delta.base)}: "
        f"{delta.contents} contents in {size(delta.size)} instead of {size(delta.instead_of)}"
    )


def _by_name(reference: ImageReference) -> ImageReference:
    """A place to write to: what is stored there names its image by digest."""
    if reference.digest is None:
        return reference
    tag = reference.tag or (DEFAULT_TAG if reference.transport is Transport.REGISTRY else "")
    return msgspec.structs.replace(reference, digest=None, tag=tag)
