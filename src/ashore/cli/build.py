# SPDX-License-Identifier: Apache-2.0
"""``ashore build``."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from ashore.cli import output
from ashore.cli.options import ROOT, debug_option, json_option
from ashore.cli.progress import shown
from ashore.cli.wiring import image_writer, limits_of
from ashore.errors import InputError, UsageError
from ashore.nouns import reference
from ashore.nouns.files import printable
from ashore.nouns.image import COMPRESSIONS
from ashore.nouns.limits import Limits
from ashore.nouns.reference import ImageReference, Transport

if TYPE_CHECKING:
    from ashore.acts.author.build import Built

ENVIRONMENT = "ASHORE_SELF_CONTAINED"


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("-t", "--tag", metavar="IMAGE", help="What to push the image as; needs --push.")
@click.option("--push", is_flag=True, help="Push the image to the registry that --tag names.")
@click.option("-o", "--output", "place", metavar="DST", help="Write to oci:DIR[:TAG] or oci-archive:FILE[:TAG].")
@click.option("--platform", "platforms", multiple=True, metavar="OS/ARCH", help="For this platform; can be repeated.")
@click.option("--compression", type=click.Choice(COMPRESSIONS), default=COMPRESSIONS[0], show_default=True)
@click.option("--level", type=int, metavar="N", help="How hard to compress: gzip 1 to 9 (6), zstd 1 to 22 (6).")
@click.option("--folder", "folders", multiple=True, metavar="NAME=DIR", help="Where [[include]] finds a folder.")
@click.option("--delta-from", "bases", multiple=True, metavar="IMAGE", help="Add what makes it out of this image.")
@click.option("--installer", is_flag=True, help="Make an image that a container engine runs to install the bundle.")
@click.option("--self-contained", metavar="DIR", envvar=ENVIRONMENT, help="The build of ashore that it brings along.")
@click.option("--no-lint", is_flag=True, help="Build also what ashore lint calls an error, where that can be built.")
@json_option
@debug_option
def command(
    folder: str,
    tag: str | None,
    push: bool,
    place: str | None,
    platforms: tuple[str, ...],
    compression: str,
    level: int | None,
    folders: tuple[str, ...],
    bases: tuple[str, ...],
    installer: bool,
    self_contained: str | None,
    no_lint: bool,
    as_json: bool,
) -> None:
    """Build the bundle at DIR into an OCI image: the same folder gives the same digest, anywhere."""
    from ashore.acts.author.attached import Carried
    from ashore.acts.author.copy import copy
    from ashore.cli.deltas import add_deltas, build_tools
    from ashore.rules.images.packing import parse_platform

    if self_contained and not installer and ENVIRONMENT not in os.environ:
        raise UsageError("--self-contained is for --installer", remedy="give both")
    if level is not None and compression == "none":
        raise UsageError("--level is for what compresses", remedy="leave it out, or choose another --compression")
    if bases and compression != COMPRESSIONS[0]:
        raise UsageError(f"--delta-from is for {COMPRESSIONS[0]}", remedy=f"leave out --compression {compression}")
    targets = _targets(tag, push, place)
    olds = [reference.parse(text) for text in bases]
    wanted = tuple(dict.fromkeys(parse_platform(text) for text in platforms))
    limits = limits_of(ROOT)
    if not no_lint:
        _lint(folder, limits)
    with shown() as progress, _first(targets, aside=bool(olds)) as (first, others):
        tools = build_tools(progress, limits, _folders(folders))
        make = _maker(installer, self_contained, tag)
        with image_writer(ROOT, first, progress, limits) as writer:
            built = make(folder, writer, tools, platforms=wanted, compression=compression, level=level)
        deltas = [made for old in olds for made in add_deltas(old, first, tools, own=True)]
        for other in others:
            with image_writer(ROOT, other, progress, limits) as writer:
                reader = tools.open_image(first)
                copy(first, reader, other, writer, progress=progress, limits=limits, carried=Carried.DELTAS)
    if as_json:
        output.result_json({"images": [str(target) for target in targets], "built": built, "deltas": deltas})
    else:
        output.result("\n".join(f"{target}@{built.digest}" for target in targets))


def _lint(folder: str, limits: Limits) -> None:
    """What could be built, and would not do on any host what it says, is not published by accident.

    Raises:
        InputError: all that lint calls an error.
    """
    from ashore.acts.author.lint import errors

    if issues := errors(folder, limits):
        remedy = "put them right; --no-lint builds all the same what can be built"
        raise InputError(f"{printable(folder)} has errors", issues=issues, remedy=remedy)


def _maker(installer: bool, self_contained: str | None, tag: str | None) -> "Callable[..., Built]":
    """What makes the image."""
    if not installer:
        from ashore.acts.author.build import build

        return build
    from ashore.acts.author.installer import build_installer

    return partial(build_installer, own=self_contained, reference=tag or "")


@contextlib.contextmanager
def _first(targets: list[ImageReference], *, aside: bool) -> Iterator[tuple[ImageReference, list[ImageReference]]]:
    """Where the image is built, and where it is copied to from there.

    `aside`: in a folder of its own, so that at its places it has a name once all that belongs to it is there.
    """
    if not aside:
        yield targets[0], targets[1:]
        return
    with tempfile.TemporaryDirectory(prefix="ashore-build-") as folder:
        yield ImageReference(transport=Transport.LAYOUT, place=folder), targets


def _folders(given: tuple[str, ...]) -> dict[str, str]:
    """``NAME=DIR`` of each --folder.

    Raises:
        UsageError: one is not of that form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not name or not place or name in found:
            raise UsageError(f"--folder {text} is not NAME=DIR, or NAME comes twice", remedy="write each name once")
        found[name] = place
    return found


def _targets(tag: str | None, push: bool, place: str | None) -> list[ImageReference]:
    """Where the image goes, what is written locally first.

    Raises:
        UsageError: nowhere, or a place that takes no build.
    """
    targets = []
    if place:
        target = reference.parse(place)
        if target.transport not in {Transport.LAYOUT, Transport.ARCHIVE}:
            raise UsageError(f"-o {place} is no layout or archive", remedy="write oci:DIR[:TAG] or oci-archive:FILE")
        targets.append(target)
    if push and not tag:
        raise UsageError("--push needs a name", remedy="add -t REGISTRY/NAME:TAG")
    if tag:
        target = reference.parse(tag)
        if not push:
            remedy = f"leave out -t: -o names the image, {place}" if place else "write it with -o oci:DIR"
            raise UsageError("-t names what --push pushes, and stores nothing", remedy=f"add --push, or {remedy}")
        if target.transport is not Transport.REGISTRY:
            raise UsageError(f"-t {tag} is no registry's name", remedy="use -o for layouts and archives")
        targets.append(target)
    if not targets:
        raise UsageError("nowhere to put the image", remedy="add -o oci:DIR, or -t REGISTRY/NAME:TAG --push")
    return targets
