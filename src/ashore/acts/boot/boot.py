# SPDX-License-Identifier: Apache-2.0
"""What a boot asks for: recover first; then the bundle by pull policy, and a node that was good comes up again."""

import random
from collections.abc import Callable, Sequence

import msgspec

from ashore.acts.boot.early import enabled_here, let_go
from ashore.acts.change.anew import changed_inputs, wish_anew
from ashore.acts.change.asking import unchanged
from ashore.acts.change.holding import held_back
from ashore.acts.change.install import change, install
from ashore.acts.change.outcome import Outcome, nothing_done
from ashore.acts.recorded import record_for
from ashore.acts.tools import Tools
from ashore.acts.transaction.due import run_due
from ashore.acts.transaction.recover import recover
from ashore.errors import BlockedError, InputError, RegistryError, UnchangedError, UnitsFailedError, UsageError
from ashore.mechanisms.host.config import read_config
from ashore.nouns.ask import Ask
from ashore.nouns.config import Pull
from ashore.nouns.generation import BundleRecord, Generation, Verb
from ashore.nouns.reference import ImageReference, Transport
from ashore.nouns.units import UnitAction, UnitVerb

_SECONDS = 120.0


class Booted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it; `kept` says why the generation that was there stays."""

    outcome: Outcome
    kept: str = ""


def boot(tools: Tools, asks: Sequence[Ask], pull: Pull | None = None) -> Booted:
    """Bring the host to what `asks` want, or keep what it has where that is what the policy says.

    Raises:
        RegistryError: nothing is installed, and the registry does not answer: worth another try.
        AshoreError: as `install`; units that a failed start took down run again with their old files.
    """
    config = read_config(tools.host)
    pull = pull or config.pull
    with tools.state.locked():
        recover(tools)
        let_go(tools)
        run_due(tools)
    current = tools.history.current()
    records = [record_for(ask, current) for ask in asks]
    asks = [_named(ask, record) for ask, record in zip(asks, records, strict=True)]
    try:
        if reason := _keeps(pull, asks, records):
            return _rest(tools, asks, current, reason)
        if pull is Pull.ALWAYS and not _brought(asks):
            spread(tools, asks)
        try:
            if reason := _held(tools, asks, records):
                return _rest(tools, asks, current, reason)
            return Booted(outcome=unchanged(tools, asks) or install(tools, asks))
        except RegistryError as error:
            if not current.bundles:
                raise
            blocked = isinstance(error, BlockedError)
            reason = error.message if blocked else f"the registry cannot be reached ({error.message})"
            reason += "; what is installed stays"
            return _rest(tools, asks, current, reason)
    except UnitsFailedError:
        _start(tools, current)
        raise


def _named(ask: Ask, record: BundleRecord | None) -> Ask:
    """By the name that it has here: if its image carries another one by now, that takes its place."""
    return msgspec.structs.replace(ask, name=record.name) if record is not None and not ask.name else ask


def spread(tools: Tools, asks: Sequence[Ask]) -> None:
    """Wait the random delay of the host's configuration, so that a fleet does not ask all at once.

    A node that has nothing yet is not kept waiting.
    """
    current = tools.history.current()
    most = read_config(tools.host).random_delay
    if most and all(record_for(ask, current) for ask in asks):
        tools.sleep(random.uniform(0, most))  # noqa: S311 - it hides nothing


def _keeps(pull: Pull, asks: Sequence[Ask], records: Sequence[BundleRecord | None]) -> str:
    """Why there is nothing to ask; empty if there is.

    Raises:
        UnchangedError: nothing may be pulled, and something is not installed.
    """
    if _brought(asks):
        return ""  # An installer image brought it: what to pull was decided before.
    if all(records) and pull in (Pull.MISSING, Pull.NEVER):
        # Whoever says never may be the boot unit of another policy, whose engine could not pull.
        return (
            f"it is installed, and {'nothing is to be pulled' if pull is Pull.NEVER else f'the pull policy is {pull}'}"
        )
    if pull is Pull.NEVER:
        missing = ", ".join(str(ask.reference) for ask, record in zip(asks, records, strict=True) if record is None)
        raise UnchangedError(
            f"{missing} is not installed, and the pull policy is never",
            remedy="install it once by hand, or boot with --pull missing",
        )
    return ""


def _brought(asks: Sequence[Ask]) -> bool:
    return all(ask.reference.transport is Transport.LAYOUT for ask in asks)


def _held(tools: Tools, asks: Sequence[Ask], records: Sequence[BundleRecord | None]) -> str:
    """Why what the references name now is not installed by itself; empty if nothing speaks against it.

    Raises:
        UnchangedError: it is held, and there is nothing else to keep.
    """
    for ask, record in zip(asks, records, strict=True):
        if held := held_back(tools, ask, record):
            by = "ashore install, or ashore follow" if held[1].alone else "ashore install"
            reason = f"{held[0]}; it is installed again only by: {by}"
            if all(records):
                return reason
            raise UnchangedError(f"{ask.written or ask.reference} is not installed", cause=reason)
    return ""


def _rest(tools: Tools, asks: Sequence[Ask], current: Generation, reason: str) -> Booted:
    """The images stay; but this host may be another than the one that they were rendered for."""
    if not changed_inputs(tools, asks):
        return _kept(current, reason)
    tools.progress.say(f"{reason}; facts or values changed, so it is rendered anew")
    try:
        return Booted(outcome=change(tools, Verb.UPGRADE, wish_anew(tools, asks)))
    except (InputError, UnchangedError) as error:
        if isinstance(error, UnitsFailedError):
            raise
        return _kept(current, f"{reason}; what changed here cannot be applied ({error})")


def _kept(current: Generation, reason: str) -> Booted:
    return Booted(outcome=nothing_done(current), kept=reason)


def _start(tools: Tools, current: Generation) -> None:
    """PID 1 has spent its own start of these units on the version that failed: start what is there now."""
    if tools.systemd is None:
        return
    units = enabled_here(tools, current)
    states = tools.systemd.states(units)
    starts = [
        UnitAction(verb=UnitVerb.START, unit=unit, reason="the boot wants it")
        for unit in units
        if not states[unit].running and states[unit].load == "loaded"
    ]
    if starts:
        tools.systemd.reset_failed([action.unit for action in starts])
        tools.systemd.run(starts, _SECONDS)


def configured(tools: Tools) -> tuple[str, ...]:
    """The images that the host's configuration lists."""
    return read_config(tools.host).bundles


def brought_as(ask: Ask, folder: str) -> Ask:
    """The same image, from the layout at `folder`; recorded by its own name.

    Raises:
        UsageError: that is no registry's.
    """
    if ask.reference.transport is not Transport.REGISTRY:
        raise UsageError(f"{ask.reference} is in no registry", remedy="name the image as it is pushed")
    layout = ImageReference(transport=Transport.LAYOUT, place=folder)
    return msgspec.structs.replace(ask, reference=layout, written=str(ask.reference))


def told(tools: Tools, tell: Callable[[], None], *, booting: bool) -> Tools:
    """The same tools, with somebody to tell when all files are in place and units may start."""
    return msgspec.structs.replace(tools, placed=tell, booting=booting and tools.live)
