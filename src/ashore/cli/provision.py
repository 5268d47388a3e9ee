# SPDX-License-Identifier: Apache-2.0
"""``ashore provision``."""

from collections.abc import Callable
from typing import Any

import click

from ashore.acts.author.provision import Wish, pin, unit, user_data
from ashore.cli import output
from ashore.cli.options import ROOT, debug_option
from ashore.errors import UsageError
from ashore.nouns import reference
from ashore.nouns.config import Pull
from ashore.nouns.limits import DEFAULT
from ashore.rules.provision.bootunit import Engine, Fetched


@click.group()
def command() -> None:
    """Print what makes a machine install an image when it boots."""


def _options(*, files: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    chosen = [
        click.argument("image"),
        click.option("--engine", type=click.Choice([str(e) for e in Engine]), default="docker", show_default=True,
                     help="Who runs the installer image; none: an ashore on the host pulls by itself."),
        click.option("--pull", type=click.Choice([str(p) for p in Pull]), default="missing", show_default=True,
                     help="When to ask the registry at boot."),
        click.option("--ashore-url", metavar="URL", help="With --engine none: fetch ashore from here first."),
        click.option("--sha256", metavar="H", help="What the archive at --ashore-url must hash to."),
        click.option("--pin", "pinned", is_flag=True, help="Fix the image to its digest: asks the registry."),
    ]  # fmt: skip
    if files:
        chosen += [
            click.option("--values", metavar="FILE", default="", help="The host's values, as TOML."),
            click.option("--registry-ca", metavar="FILE", default="", help="Trust this authority for the registry."),
            click.option("--mirror", metavar="HOST", default="", help="Pull through this registry first."),
        ]

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(chosen):
            function = option(function)
        return debug_option(function)

    return apply


def _wish(
    image: str, engine: str, pull: str, ashore_url: str | None, sha256: str | None, pinned: bool, **files: str
) -> Wish:
    if bool(ashore_url) != bool(sha256):
        raise UsageError("--ashore-url and --sha256 belong together", remedy="give both")
    name = reference.parse(image)
    if pinned:
        from ashore.cli.progress import Quiet
        from ashore.cli.wiring import image_opener, limits_of

        name = pin(name, image_opener(ROOT, Quiet(), limits_of(ROOT)))
    fetched = Fetched(url=ashore_url, sha256=sha256) if ashore_url and sha256 else None
    return Wish(reference=name, engine=Engine(engine), pull=Pull(pull), fetched=fetched, **files)


@command.command("unit")
@_options(files=False)
def unit_command(**given: Any) -> None:
    """Print the boot unit, ashore-boot.service."""
    output.result(unit(_wish(**given)))


def _user_data(kind: str, what: str) -> None:
    @command.command(kind, help=f"Print {what}.")
    @_options(files=True)
    def print_it(registry_ca: str, **given: Any) -> None:
        output.result(user_data(kind, _wish(authority=registry_ca, **given), DEFAULT))


_user_data("cloud-config", "user-data for cloud-init")
_user_data("coreos-cloudinit", "user-data for coreos-cloudinit")
_user_data("ignition", "an Ignition configuration (specification 3.3.0)")
_user_data("butane", "a Butane configuration (fcos 1.4.0)")
