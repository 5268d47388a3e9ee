# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors: what happened, why, what to do, and the exit code it ends with.

Library code raises these and never prints or exits; ``cli.main`` is the only place that does.
"""

import errno
from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar

import msgspec

NOT_DECODED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON of the type that is asked for."""


class ExitCode(IntEnum):
    """The documented exit codes (docs/reference/exit-codes.md). Stable: scripts depend on them."""

    DONE = 0
    FAULT = 1
    USAGE = 2
    INPUT = 3
    NETWORK = 4
    REFUSED = 5
    CONFLICT = 6
    UNCHANGED = 7
    CHANGED = 8
    BUSY = 9
    DIFFERS = 10
    INTERRUPTED = 130


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """One problem of an input: where it is, what is wrong, and what would be right."""

    where: str
    """``file:line``, ``image layer 2: entry etc/x``, an option's name. Empty where nothing narrower fits."""
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.remedy})" if self.remedy else ""
        return f"{place}{self.message}{hint}"


class AshoreError(Exception):
    """Every error that ashore foresees. Subclasses fix the exit code."""

    code: ClassVar[ExitCode] = ExitCode.FAULT

    def __init__(self, message: str, *, cause: str = "", remedy: str = "", issues: Iterable[Issue] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.remedy = remedy
        self.issues = tuple(issues)

    def __str__(self) -> str:
        return "; ".join([self.message + (f": {self.cause}" if self.cause else ""), *map(str, self.issues)])


class UsageError(AshoreError):
    """The command line asks for something that does not exist or does not fit together."""

    code = ExitCode.USAGE


class InputError(AshoreError):
    """The bundle, image or values are wrong: malformed, hostile, or over a limit.

    All problems of an input are reported at once, as ``issues``.
    """

    code = ExitCode.INPUT


class RegistryError(AshoreError):
    """The registry or the network did not do what was asked."""

    code = ExitCode.NETWORK


class BlockedError(RegistryError):
    """The host's own configuration forbids this registry: another try does not mend that."""

    code = ExitCode.REFUSED


class VerificationError(AshoreError):
    """A digest, a size, a policy or a signature does not hold. Nothing that failed it is used."""

    code = ExitCode.REFUSED


class ElsewhereError(VerificationError):
    """What one place gave is wrong, and another place is left: the same may be asked for once more."""


class ConflictError(AshoreError):
    """Somebody has to decide first; every conflict is listed in ``issues``."""

    code = ExitCode.CONFLICT


class UnchangedError(AshoreError):
    """It failed, and the host is as it was."""

    code = ExitCode.UNCHANGED


AS_BEFORE = "; the host is as it was before"
"""How messages of failures end that took everything back."""


def without_promise(error: BaseException) -> str:
    """What an error says, where it is not so that everything was taken back."""
    return str(error).replace(AS_BEFORE, "")


class DamagedContentError(UnchangedError):
    """A content that ashore had stored is not what its name says; it was dropped, and another try looks elsewhere."""


class ChangedError(AshoreError):
    """It failed, and the host is NOT as it was; ``issues`` says what is left to do."""

    code = ExitCode.CHANGED


class NotFollowedError(AshoreError):
    """Somebody pressed Ctrl-C while PID 1 carries a change out: it goes on."""

    code = ExitCode.INTERRUPTED


class BusyError(AshoreError):
    """Another ashore is at work on this root."""

    code = ExitCode.BUSY


class UnitsFailedError(UnchangedError):
    """Units did not come up with the new version, so the old one runs again; the new digest is held."""


class ContentRefusedError(UnchangedError):
    """A validator of the bundle or the host refused what would be placed; the new digest is held."""


class TriggerFailedError(UnitsFailedError):
    """A trigger or a step of a bundle failed, so everything went back; the new digest is held."""


def cause_of(error: Exception) -> str:
    """Why a change could not be made: the kind of a fault that nobody foresaw says more than its words."""
    if isinstance(error, AshoreError):
        return without_promise(error)
    return reason_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def reason_of(error: Exception) -> str:
    """Why something failed, in words: what the system said, and of which file."""
    if not isinstance(error, OSError):
        return str(error)
    return words_of(error) + (f" ({error.filename})" if error.filename else "")


def words_of(error: OSError) -> str:
    """What the system said: one that has no number says it as any error does."""
    return error.strerror or str(error)


def unread_because(error: OSError | UnicodeDecodeError) -> str:
    """Why a file that the user named gave no text; the message names the file."""
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else words_of(error)


def remedy_of(error: Exception) -> str:
    """What to do about what the system said; empty where that depends."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC:
        return "make room there, or: ashore prune"
    if number == errno.EDQUOT:
        return "raise the quota, or make room there"
    return "look in the kernel's log for what the disk said: journalctl -k" if number == errno.EIO else ""
