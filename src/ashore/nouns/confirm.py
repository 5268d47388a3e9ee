# SPDX-License-Identifier: Apache-2.0
"""A change that is kept only if somebody confirms it in time, from outside: who can, still has a way in."""

from enum import StrEnum

import msgspec

SECONDS = 300.0
"""How long there is to confirm where nobody says."""


NOT_CONFIRMED = "not confirmed in time"
"""Why a change was taken back that nobody confirmed."""


class By(StrEnum):
    """What counts as a confirmation. ``ashore confirm`` always does."""

    COMMAND = "command"
    SSH_LOGIN = "ssh-login"
    """A login over ssh that began after the change, too."""


class Confirm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a change has to be confirmed, as a bundle declares it or a plan decides it.

    `within` is in seconds; 0 says that it need not be.
    """

    within: float = SECONDS
    by: By = By.COMMAND
    reason: str = ""
    bundles: tuple[str, ...] = ()
    """Of a plan: whose change has to be confirmed."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command says about confirmation. `seconds`: None leaves it to the bundles, 0 asks for none."""

    seconds: float | None = None
    declared: bool = True
    """Whether what bundles declare holds."""
    by_paths: bool = True
    """Whether a change of sshd, network or firewall has to be confirmed where its bundle says nothing."""


class Provisional(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That the host's generation waits for confirmation; it was all so since the generation `back`."""

    back: int
    """The newest that needs no confirmation: it comes back otherwise. 0 is the host before ashore."""
    within: float
    since: float
    """Seconds since the machine booted, suspended ones included: no clock that somebody sets."""
    boot: str
    began: str
    """UTC, RFC 3339."""
    until: str
    """UTC, RFC 3339. For people."""
    by: By = By.COMMAND
    reason: str = ""
    bundles: tuple[str, ...] = ()
    """Whose changes have to be confirmed; an earlier ashore did not note them."""
