# SPDX-License-Identifier: Apache-2.0
"""What the stories work with: one host's root, its state, PID 1 if it is live, and the seams to outside."""

import contextlib
import os
import time
from collections.abc import Callable

import msgspec

from ashore.errors import ChangedError, UnchangedError, UsageError, words_of
from ashore.mechanisms.attributes import may_own
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.images.cache import Cache
from ashore.mechanisms.own import ownunits
from ashore.mechanisms.state.content import ContentStore
from ashore.mechanisms.state.history import History
from ashore.mechanisms.state.state import State
from ashore.nouns.config import STATE_FOLDER
from ashore.nouns.duration import MOMENT
from ashore.nouns.facts import Facts
from ashore.nouns.files import printable, shown
from ashore.nouns.image import Descriptor, Platform
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.ports import ImageReader, Processes, Programs, Progress, Systemd
from ashore.nouns.reference import ImageReference
from ashore.rules.provision.hostunits import OURS, RECOVER_PATH


def _now() -> str:
    return time.strftime(MOMENT, time.gmtime())


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an act is given. Tests give fakes; the command line gives the real things."""

    host: Beneath
    state: State
    history: History
    content: ContentStore
    progress: Progress
    open_image: Callable[[ImageReference], ImageReader]
    facts: Callable[[], Facts]
    cache: Cache
    systemd: Systemd | None = None
    """None: an offline root; nothing is started there."""
    processes: Processes | None = None
    """Of a live root."""
    programs: Programs | None = None
    """Those of the root on a live one, else this machine's own."""
    boot: str = ""
    """The boot id of a live root."""
    booting: bool = False
    """PID 1 is about to start every enabled unit: what does not run yet is started and watched as well."""
    limits: Limits = DEFAULT
    now: Callable[[], str] = _now
    new_id: Callable[[], str] = lambda: os.urandom(6).hex()
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uptime: Callable[[], float] = _uptime
    """Seconds since the machine booted; no clock that somebody sets."""
    program: tuple[str, ...] = ("/opt/bin/ashore",)
    """How a unit of PID 1 runs this ashore."""
    placed: Callable[[], None] = lambda: None
    """Told when every file is in place and PID 1 knows it, before any unit is started."""

    asked: Platform | None = None
    """Somebody looks at the image for another platform than the host's."""
    as_root: bool = False
    """Somebody who is not root looks at what root's install would do."""
    resolved: dict[ImageReference, Descriptor] = {}
    """What references were just found to name, for the change that follows: each is asked for once."""

    def platform(self) -> Platform:
        """What images must be for: the host's architecture, this machine's where the root does not tell."""
        from ashore.mechanisms.host.facts import machine_architecture, machine_variant

        if self.asked is not None:
            return self.asked
        architecture = self.facts().architecture or machine_architecture()
        return Platform(architecture, variant=machine_variant(architecture))

    @property
    def owner(self) -> tuple[int, int] | None:
        """Who gets every file where files cannot be given away; None where they can."""
        return None if self.as_root or may_own() else (os.geteuid(), os.getegid())

    @property
    def live(self) -> bool:
        return self.systemd is not None


def host_at(root: str) -> Beneath:
    """The files below a root.

    Raises:
        UsageError: there is no such folder.
        UnchangedError: it cannot be opened.
    """
    try:
        return Beneath(root)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"the root {printable(root)} is no folder",
            cause=error.strerror or "",
            remedy="make it, as a host's: mkdir -p DIR/etc DIR/var/lib",
        ) from error
    except OSError as error:
        raise UnchangedError(f"cannot open the root {printable(root)}", cause=words_of(error)) from error


def state_of(host: Beneath) -> State:
    """ashore's state there; where it is gone, and the unit that is placed after it is not, this is no fresh host."""

    def refuse_lost(why: str) -> None:
        with contextlib.suppress(OSError):
            if not host.is_there(RECOVER_PATH) or ownunits.is_anothers(host, RECOVER_PATH, OURS):
                return
            raise ChangedError(
                f"ashore's state is not there: {shown(STATE_FOLDER)}",
                cause=f"{why}, and {shown(RECOVER_PATH)} tells that ashore was at work here",
                remedy=f"mount it, or restore it from a backup; to start anew: rm {shown(RECOVER_PATH)}",
            )

    return State(host, refuse_lost)


def open_root(root: str) -> tuple[Beneath, State, History, ContentStore]:
    """The root's files and ashore's state in it.

    Raises:
        UsageError, UnchangedError: as `host_at`.
    """
    host = host_at(root)
    state = state_of(host)
    return host, state, History(state), ContentStore(state)
