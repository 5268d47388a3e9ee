# SPDX-License-Identifier: Apache-2.0
"""``ashore boot``: what the boot unit runs. Not listed: people run install and upgrade."""

import click

from ashore.cli import output
from ashore.cli.options import debug_option, root_option
from ashore.cli.wiring import asks, wired
from ashore.errors import AshoreError, ExitCode, UsageError
from ashore.nouns.config import Pull


@click.command(hidden=True)
@click.argument("references", metavar="[IMAGE]...", nargs=-1)
@click.option("--pull", type=click.Choice([str(p) for p in Pull]), help="missing, always or never.")
@click.option("--brought", metavar="DIR", default="", help="The image lies here, as a layout; IMAGE is its name.")
@click.option("--first", is_flag=True, help="ashore came with that image: if it cannot be installed, it goes again.")
@click.option("--spread", is_flag=True, help="Only wait the random delay of the configuration, if it is installed.")
@click.option("--follow", is_flag=True, help="Wait until all is healthy, not only until units may start.")
@root_option
@debug_option
def command(
    references: tuple[str, ...], pull: str | None, brought: str, first: bool, spread: bool, follow: bool, root: str
) -> int:
    """Bring this host to the named images, or those of its configuration, or keep what is installed."""
    from ashore.cli.service import settled_by_pid1
    from ashore.cli.wiring import leave_answer, tell_ready

    with wired(root) as tools:
        if spread:
            from ashore.acts.boot import boot as story

            story.spread(tools, asks(references))
            return ExitCode.DONE
        if (code := settled_by_pid1(tools, follow=follow)) is not None:
            return code
        from ashore.acts.boot.boot import boot, brought_as, configured, told
        from ashore.cli.render_plan import outcome_text

        try:
            names = references or configured(tools)
            if not names or (brought and len(names) != 1):
                raise UsageError("no image to install", remedy="name one, or list bundles in /etc/ashore/config.toml")
            wanted = asks(names)
            if brought:
                wanted = [brought_as(wanted[0], brought)]
            booted = boot(told(tools, tell_ready, booting=not follow), wanted, Pull(pull) if pull else None)
        except AshoreError as error:
            leave_answer(root, error.code, str(error) + (f" ({error.remedy})" if error.remedy else ""))
            if first:
                from ashore.acts.boot.hand_over import leave

                leave(tools, error, brought)
            raise
        finally:
            if brought:
                from ashore.acts.boot.hand_over import drop_layout

                drop_layout(tools.host, brought)
    outcome = booted.outcome
    text = booted.kept and f"generation {outcome.generation.number} stays: {booted.kept}"
    text = text or outcome_text(outcome.plan, outcome.generation, changed=outcome.changed)
    output.result(text)
    leave_answer(root, ExitCode.DONE, text)
    tell_ready()
    return ExitCode.DONE
