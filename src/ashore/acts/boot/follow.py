# SPDX-License-Identifier: Apache-2.0
"""One round of following tags: ask once for each bundle, install what is new, leave what is held alone."""

import contextlib
import datetime
from collections.abc import Mapping, Sequence

import msgspec

from ashore.acts.change.asking import upgrades
from ashore.acts.change.install import change
from ashore.acts.change.noop import is_gone
from ashore.acts.change.outcome import Outcome
from ashore.acts.change.wishes import Target, Wish, wish_for
from ashore.acts.fetch.places import Place
from ashore.acts.tools import Tools
from ashore.acts.transaction.late import watched_now
from ashore.acts.transaction.recover import recover
from ashore.errors import (
    AshoreError,
    BlockedError,
    ConflictError,
    ExitCode,
    InputError,
    RegistryError,
    UnchangedError,
    VerificationError,
)
from ashore.mechanisms.host.config import read_config
from ashore.mechanisms.state import following
from ashore.nouns import reference
from ashore.nouns.ask import NOTHING
from ashore.nouns.confirm import Asked
from ashore.nouns.digest import Digest
from ashore.nouns.follow import Finding, Found
from ashore.nouns.generation import BundleRecord, Generation, Verb
from ashore.nouns.ports import ImageReader
from ashore.nouns.reference import Transport
from ashore.rules.window import is_open, next_opening

_WAITS = "a change waits for confirmation: ashore confirm"
_NOBODY_THERE = Asked(by_paths=False)
"""A bundle that asks for it is confirmed, by a login say; that a path looks dangerous is no reason at night."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. `skipped` says why nothing was asked."""

    generation: Generation
    skipped: str = ""
    found: tuple[Found, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    code: ExitCode = ExitCode.DONE
    """Of the first bundle that could not be brought to its new version, or be asked for."""


class _MeanwhileError(UnchangedError):
    """What somebody did while the registries were asked speaks against all that is new."""


_ONE_BUNDLES = (InputError, RegistryError, VerificationError, ConflictError, UnchangedError)
"""What may be the fault of one bundle among several, with the host as it was."""


def follow(tools: Tools) -> Round:
    """Install what the recorded references name now, where that is new.

    Raises:
        AshoreError: as `install`; of several new ones, those that work alone are installed, and `code` says so.
    """
    if tools.state.fd is None:
        return Round(generation=tools.history.current(), skipped="no bundle is installed")
    with tools.state.locked():
        recover(tools)
        config = read_config(tools.host)
        current = tools.history.current()
        if reason := _paused(tools):
            return Round(generation=current, skipped=reason)
    moment = _moment(tools)
    if not is_open(config.window, moment):
        opens = next_opening(config.window, moment, datetime.datetime.astimezone).astimezone()
        shown = opens.isoformat(sep=" ", timespec="minutes")
        return Round(generation=current, skipped=f"no maintenance window is open; the next opens at {shown}")
    if tools.history.provisional() is not None:
        return Round(generation=current, skipped=_WAITS)
    if not current.bundles:
        return Round(generation=current, skipped="no bundle is installed")
    refused: dict[str, AshoreError] = {}
    found = tuple(_ask(tools, record, refused) for record in current.bundles)
    new = [item for item in found if item.finding is Finding.NEW]
    done = _install(tools, new) if new else _Done()
    failed = {**refused, **done.failed}
    return Round(
        generation=tools.history.current(),
        found=tuple(_with_failure(_with_skip(item, done.skipped), failed.get(item.bundle)) for item in found),
        outcomes=tuple(done.outcomes),
        code=_code(found, failed),
    )


class _Done(msgspec.Struct, kw_only=True):
    """What became of what is new; by bundle, but for the outcomes."""

    outcomes: list[Outcome] = []
    failed: dict[str, AshoreError] = {}
    skipped: dict[str, str] = {}


def _with_skip(item: Found, skipped: Mapping[str, str]) -> Found:
    why = skipped.get(item.bundle)
    return item if why is None else msgspec.structs.replace(item, finding=Finding.SKIPPED, why=why)


def _with_failure(item: Found, error: AshoreError | None) -> Found:
    return item if error is None else msgspec.structs.replace(item, finding=Finding.FAILED, why=str(error))


def _code(found: Sequence[Found], failed: Mapping[str, AshoreError]) -> ExitCode:
    for error in failed.values():
        return error.code
    unreachable = any(item.finding is Finding.UNREACHABLE for item in found)
    return ExitCode.NETWORK if unreachable else ExitCode.DONE


def _moment(tools: Tools) -> datetime.datetime:
    return datetime.datetime.fromisoformat(tools.now()).astimezone()


def _paused(tools: Tools) -> str:
    """Why nobody follows now; a pause whose time is over is forgotten. The lock is held."""
    remembered = following.read(tools.state)
    paused = remembered.paused
    if paused is None:
        return ""
    if not paused.until:
        return f"paused since {paused.since}: ashore follow --resume"
    if _moment(tools) < datetime.datetime.fromisoformat(paused.until):
        return f"paused until {paused.until}: ashore follow --resume"
    following.write(tools.state, msgspec.structs.replace(remembered, paused=None))
    return ""


def _ask(tools: Tools, record: BundleRecord, refused: dict[str, AshoreError]) -> Found:
    """One request, unless an installer image has a new index: then one more, for what it carries.

    What is named may be no image, or not the one that it says: that is put into `refused`.

    Raises:
        InputError: what this host has set for registries is wrong, which is every bundle's.
    """
    named = reference.parse(record.reference)
    said = Found(bundle=record.name, reference=record.reference, finding=Finding.SAME, digest=record.digest)
    if named.digest:
        return msgspec.structs.replace(said, finding=Finding.PINNED)
    if is_gone(named):
        return msgspec.structs.replace(
            said, finding=Finding.SKIPPED, why="its image is no longer there; it stays as it is"
        )
    unreachable = (RegistryError,) if named.transport is Transport.REGISTRY else (RegistryError, InputError)
    try:
        reader = tools.open_image(named)
    except BlockedError as error:
        refused[record.name] = error
        return _with_failure(said, error)
    except unreachable as error:
        return msgspec.structs.replace(said, finding=Finding.UNREACHABLE, why=str(error))
    try:
        digest = _digest(tools, reader, record)
    except unreachable as error:
        return msgspec.structs.replace(said, finding=Finding.UNREACHABLE, why=str(error))
    except (InputError, VerificationError) as error:
        refused[record.name] = error
        return _with_failure(said, error)
    if digest == record.digest:
        return said
    held = tools.history.held().get(digest)
    if held is not None and not held.alone:
        return msgspec.structs.replace(said, finding=Finding.HELD, digest=digest, why=held.reason)
    return msgspec.structs.replace(said, finding=Finding.NEW, digest=digest)


def _digest(tools: Tools, reader: ImageReader, record: BundleRecord) -> Digest:
    from ashore.acts.fetch.fetch import carried_digest
    from ashore.nouns.image import INDEXES

    top = reader.resolve()
    if top.digest == record.digest or top.media_type not in INDEXES:
        return top.digest
    known = following.read(tools.state).known.get(top.digest)
    if known is None:
        known = carried_digest(reader, top, record.reference, tools.limits)
        _remember(tools, top.digest, known)
    return known


def _remember(tools: Tools, index: Digest, bundle: Digest) -> None:
    with tools.state.locked():
        remembered = following.read(tools.state)
        wanted = {b.digest for b in tools.history.current().bundles} | tools.history.held().keys()
        known = {i: b for i, b in remembered.known.items() if b in wanted} | {index: bundle}
        following.write(tools.state, msgspec.structs.replace(remembered, known=known))


def _install(tools: Tools, new: Sequence[Found]) -> _Done:
    """All new ones as one change; if that fails, each by itself, so that a bad one does not keep the others back.

    Those that went back with others before are tried by themselves at once.
    """
    done, held = _Done(), tools.history.held()
    for item in new:
        tools.progress.say(f"{item.bundle}: {item.reference} is {item.digest} now")
    together = [item for item in new if item.digest not in held]
    alone = [item for item in new if item.digest in held]
    try:
        if together:
            _try(tools, together, done)
    except _ONE_BUNDLES as error:
        tried = [item for item in together if item.bundle not in done.skipped]
        if len(tried) == 1:
            done.failed[tried[0].bundle] = error
        else:
            tools.progress.say(f"{error}; each by itself now")
            alone = [*tried, *alone]
    _one_by_one(tools, alone, done)
    if len(new) == 1 and done.failed:
        raise done.failed[new[0].bundle]
    return done


def _one_by_one(tools: Tools, new: Sequence[Found], done: _Done) -> None:
    for item in new:
        try:
            _try(tools, [item], done, alone=True)
        except _ONE_BUNDLES as error:
            done.failed[item.bundle] = error


def _try(tools: Tools, items: Sequence[Found], done: _Done, *, alone: bool = False) -> None:
    """Install these as one change, but for those that something speaks against meanwhile."""
    with contextlib.suppress(_MeanwhileError):
        wish = _as_it_is_now(tools, items, done, alone=alone)
        done.outcomes.append(change(tools, Verb.FOLLOW, wish, confirm=_NOBODY_THERE))


def _as_it_is_now(tools: Tools, items: Sequence[Found], done: _Done, *, alone: bool) -> Wish:
    """Registries were asked without the lock, and may have taken their time: what was decided meanwhile counts."""

    def wish(current: Generation, place: Place, salt: bytes) -> Target:
        reasons = {item.bundle: reason for item in items if (reason := _meanwhile(tools, current, item, alone=alone))}
        done.skipped |= reasons
        names = [item.bundle for item in items if item.bundle not in reasons]
        if not names:
            raise _MeanwhileError("nothing is left to install")
        return wish_for(tools, upgrades(current, names, NOTHING))(current, place, salt)

    return wish


def _meanwhile(tools: Tools, current: Generation, item: Found, *, alone: bool) -> str:
    """Why what was found new is not installed after all. The lock is held.

    The next change would end the watch on what a round installed, and a late failure of that stay: what can be tried
    by itself only waits until it is over.
    """
    record = current.bundle(item.bundle)
    if record is None:
        return "it was removed meanwhile"
    if record.reference != item.reference:
        return f"it was installed from {record.reference} meanwhile"
    if reason := _paused(tools):
        return reason
    if tools.history.provisional() is not None:
        return _WAITS
    held = tools.history.held().get(item.digest)
    if held is not None and not held.alone:
        return f"held meanwhile: {held.reason}"
    late = watched_now(tools) if alone and current.verb is Verb.FOLLOW else None
    return f"a later round tries it by itself: what was installed before is watched until {late.until}" if late else ""
