# SPDX-License-Identifier: Apache-2.0
"""The journal on disk: a folder of three sealed files, each written once, before the act that it is about.

The first one's name says which of the others have to be there, so that one that is taken away is missed.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import TypeVar

from ashore.errors import ChangedError
from ashore.mechanisms import durable
from ashore.mechanisms.descriptors import READ_FOLDER, closing
from ashore.mechanisms.state.state import State
from ashore.nouns.bundle import Phase
from ashore.nouns.journal import Begun, Journal, Staged, Verdict

T = TypeVar("T")

_FOLDER = "journal"
_DONE = "journal.done"
_RESERVE = "0-reserve"
_BEGUN, _IS_STAGED, _IS_JUDGED = "1-begun.json", "1-staged.json", "1-judged.json"
_STAGED, _VERDICT = "2-staged.json", "3-verdict.json"
_RAN = "2-ran.json"
_UNITS = "2-units"
"""Empty: units are acted on from here on. That counts within one boot, so a kill is all that it has to survive."""
_NAMES = tuple[str, ...]
_AREAS = "stage"
_LIMIT = 1 << 30
_TRIES = 5
"""To read what is written meanwhile."""


def begin(state: State, begun: Begun) -> None:
    """Open the journal, or name another staging folder in it, before that folder is made."""
    base = state.prepare()
    with contextlib.suppress(FileExistsError):
        os.mkdir(_FOLDER, 0o700, dir_fd=base)
        os.fsync(base)
    _write(state, _BEGUN, begun)


def reserve(state: State, size: int) -> None:
    """Set aside `size` bytes: what ends the transaction, either way, then needs no new space.

    Raises:
        OSError: there is too little.
    """
    with closing(state.folder(_FOLDER)) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with closing(os.open(_RESERVE, flags, 0o600, dir_fd=folder)) as descriptor:
            os.posix_fallocate(descriptor, 0, size)


def release(state: State) -> bool:
    """Give back what was set aside, to be used now; False where nothing was."""
    try:
        os.unlink(f"{_FOLDER}/{_RESERVE}", dir_fd=state.fd)
        return True
    except OSError:
        return False


def staged(state: State, what: Staged) -> None:
    """Write every step down, before the first is taken."""
    if _runs_before(what):
        ran(state, ())  # From here on its absence means that somebody took it away.
    _write(state, _STAGED, what, along=((_BEGUN, _IS_STAGED),))


def ran(state: State, names: tuple[str, ...]) -> None:
    """Write down which steps of bundles were begun, before the last of them is."""
    _write(state, _RAN, names)


def ran_of(state: State) -> tuple[str, ...]:
    """What `ran` wrote down last."""
    with closing(state.folder(_FOLDER)) as folder:
        return _read(folder, _RAN, _NAMES) or ()


def units_begun(state: State) -> None:
    """Note that units are acted on from now on."""
    with closing(state.folder(_FOLDER)) as folder:
        os.close(os.open(_UNITS, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder))


def has_units_begun(state: State) -> bool:
    """Whether that was noted."""
    return state.fd is not None and os.access(f"{_FOLDER}/{_UNITS}", os.F_OK, dir_fd=state.fd)


def verdict(state: State, what: Verdict) -> None:
    """Write what holds from now on."""
    _write(state, _VERDICT, what, along=((_IS_STAGED, _IS_JUDGED),))


def withdraw(state: State) -> None:
    """Take back a verdict whose writing failed: whoever recovers must not take it for one.

    Raises:
        OSError: it may be there, or not; both ways recovery makes something whole of it.
    """
    with closing(state.folder(_FOLDER)) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.rename(_IS_JUDGED, _IS_STAGED, src_dir_fd=folder, dst_dir_fd=folder)
        durable.remove(folder, _VERDICT)


def read(state: State) -> Journal | None:
    """An unfinished transaction's journal, None if there is none.

    Raises:
        ChangedError: there is one, and it is damaged.
    """
    if state.fd is None:
        return None
    try:
        folder = os.open(_FOLDER, READ_FOLDER, dir_fd=state.fd)
    except FileNotFoundError:
        _refuse_orphans(state, _FOLDER)
        return None
    with closing(folder):
        names = set(os.listdir(folder))
        first = next((name for name in (_IS_JUDGED, _IS_STAGED, _BEGUN) if name in names), None)
        begun = _read(folder, first, Begun) if first else None
        due = {_IS_JUDGED: {_STAGED, _VERDICT}, _IS_STAGED: {_STAGED}}.get(first or "", set())
        if lacking := sorted(due - names):
            raise durable.damaged(f"{_FOLDER}/{lacking[0]}", "it is missing")
        if begun is None:
            if {_STAGED, _VERDICT} & names:
                raise durable.damaged(f"{_FOLDER}/{_BEGUN}", "it is missing")
            _refuse_orphans(state, f"{_FOLDER}/{_BEGUN}")
            return None  # Killed between making the folder and the first line: nothing else was created yet.
        staged = _read(folder, _STAGED, Staged)
        if staged is not None and _runs_before(staged) and _RAN not in names:
            raise durable.damaged(f"{_FOLDER}/{_RAN}", "it is missing")
        return Journal(
            begun=begun,
            staged=staged,
            verdict=_read(folder, _VERDICT, Verdict),
            ran=_read(folder, _RAN, _NAMES) or (),
            units_begun=_UNITS in names or (staged is not None and not staged.notes_units),
        )


def exists(state: State) -> bool:
    """Whether there is anything of a journal, readable or not, or of a transaction that has lost its own."""
    names = os.listdir(state.fd) if state.fd is not None else []
    return _FOLDER in names or _DONE in names or bool(_AREAS in names and _orphans(state))


def interrupted(state: State) -> bool:
    """Whether there is one that nobody is at work on."""
    return exists(state) and state.at_rest(lambda: exists(state))


def under_way(state: State) -> Journal | None:
    """What another ashore is at work on just now; None where none is, or has begun no transaction yet."""
    if not exists(state) or state.at_rest(lambda: True):
        return None
    for _ in range(_TRIES):
        with contextlib.suppress(ChangedError, FileNotFoundError):  # it goes on meanwhile
            return read(state)
    return None


def swept(state: State) -> bool:
    """Whether a journal of a transaction that had ended with a verdict was left, and is swept now."""
    return state.fd is not None and _sweep(state.fd)


def drop(state: State) -> None:
    """End the transaction: from here on there was none. One rename decides it, the rest is sweeping."""
    base = state.prepare()
    _sweep(base)
    with contextlib.suppress(FileNotFoundError):
        os.rename(_FOLDER, _DONE, src_dir_fd=base, dst_dir_fd=base)
        os.fsync(base)
    _sweep(base)


def _sweep(base: int) -> bool:
    """Whether there was a verdict in what is swept now; it goes last, so that a second try sees it too."""
    try:
        folder = os.open(_DONE, READ_FOLDER, dir_fd=base)
    except FileNotFoundError:
        return False
    with closing(folder):
        names = sorted(os.listdir(folder))
        for name in names:
            os.unlink(name, dir_fd=folder)
    os.rmdir(_DONE, dir_fd=base)
    return _VERDICT in names


def _runs_before(what: Staged) -> bool:
    """Whether there are steps of bundles that are run, and may have to be undone, before files are swapped."""
    return any(planned.step.phase is Phase.BEFORE for planned in what.commands)


def _orphans(state: State) -> list[str]:
    """Staging folders beside the state: each transaction has one, from after its journal to before that goes."""
    try:
        folder = os.open(_AREAS, READ_FOLDER, dir_fd=state.fd)
    except FileNotFoundError:
        return []
    with closing(folder):
        return sorted(os.listdir(folder))


def _refuse_orphans(state: State, missing: str) -> None:
    """Without its journal nobody knows what a transaction had done: what it displaced must not be lost."""
    if orphans := _orphans(state):
        raise durable.damaged(
            missing,
            f"it is missing, and {_AREAS}/{orphans[0]} holds what an interrupted transaction staged or displaced",
        )


def _write(state: State, name: str, value: object, *, along: Sequence[tuple[str, str]] = ()) -> None:
    with closing(state.folder(_FOLDER)) as folder:
        durable.replace(folder, name, durable.seal(value), along=along)


def _read(folder: int, name: str, kind: type[T]) -> T | None:
    try:
        data = durable.read_all(folder, name, _LIMIT)
    except FileNotFoundError:
        return None
    return durable.unseal(data, kind, f"journal/{name}")
