# SPDX-License-Identifier: Apache-2.0
"""In a container: look whether the host can be reached, place what the image brings, have the host's PID 1 go on."""

import os
import shutil
import socket
from collections.abc import Sequence

import msgspec

from ashore.acts.change.farewell import boots_again, farewell
from ashore.acts.tools import Tools, state_of
from ashore.errors import (
    NOT_DECODED,
    AshoreError,
    BusyError,
    ChangedError,
    InputError,
    Issue,
    UnchangedError,
    words_of,
)
from ashore.mechanisms import process
from ashore.mechanisms.beneath import Beneath
from ashore.mechanisms.own import ownbuild, ownfolders, ownunits
from ashore.mechanisms.pid1.systemd import is_live
from ashore.mechanisms.state import journal
from ashore.mechanisms.state.history import History
from ashore.mechanisms.state.state import State
from ashore.nouns.digest import hex_of
from ashore.nouns.installer import BIN, BUILDS, CARD_PATH, INCOMING, LAYOUT, PROGRAM_LINK, Card
from ashore.rules.provision.hostunits import OURS, RECOVER_LINKS, RECOVER_PATH, RECOVER_UNITS

_SECONDS = 300.0
"""A busy host may take its time to start a program."""
_SYSTEMD_RUN = ("usr/bin/systemd-run", "bin/systemd-run")
_REMOUNT = "mount -o remount"
_SYNOPSIS = "docker run --rm --privileged --pid=host --network=host -v /:/rootfs IMAGE"


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on the host now, and how to name it there."""

    program: str
    """Below the host's root."""
    layout: str
    """Below the host's root."""


def read_card(top: str) -> Card:
    """What the image at `top` says of itself.

    Raises:
        InputError: this is no installer image.
    """
    try:
        with open(os.path.join(top, CARD_PATH), "rb") as file:
            return msgspec.json.decode(file.read(), type=Card)
    except (OSError, *NOT_DECODED) as error:
        raise InputError(
            "this is no installer image", cause=str(error), remedy="make one: ashore build DIR --installer -t IMAGE"
        ) from error


def check_host(root: str) -> None:
    """Look at all that the hand-over needs, before anything is written.

    Raises:
        UnchangedError: everything that is missing, each with the option that adds it.
    """
    issues = list(_issues(root))
    places = list(_place_issues(root)) if os.path.isdir(os.path.join(root, "etc")) else []
    if places and not issues:
        raise UnchangedError("ashore cannot be placed on the host", issues=places)
    if issues:
        raise UnchangedError(
            "the host cannot be reached from here", remedy=f"run: {_SYNOPSIS}", issues=[*issues, *places]
        )


def place(host: Beneath, top: str, card: Card, enter: Sequence[str]) -> Placed:
    """Put the build, the bundle image and the recovery unit on the host.

    Raises:
        UnchangedError: it cannot be written there, or the host cannot run what was placed.
        ChangedError: ashore's state was there, and is gone.
    """
    _refuse_lost(host)
    first = is_first(host)
    program = ""
    try:
        program = _place_program(host, os.path.join(top, BIN), card, enter)
        ownbuild.point(host, program)
        State(host).prepare()  # the unit tells that there is one
        place_recovery(host)
        layout = _place_layout(host, os.path.join(top, LAYOUT), hex_of(card.image))
    except AshoreError:
        if first:
            withdraw(host, program)
        raise
    ownbuild.drop_older(host, program)
    return Placed(program=program, layout=layout)


def _place_program(host: Beneath, own: str, card: Card, enter: Sequence[str]) -> str:
    program = ownbuild.place(host, own, card.version, card.build)
    try:
        process.run([*enter, f"/{program}", "--version"], seconds=_SECONDS)
    except AshoreError as error:
        ownbuild.drop(host, program)
        raise UnchangedError(
            "the host cannot run ashore",
            cause=error.cause or error.message,
            remedy="its C library may be too old for this build, or /opt is mounted noexec",
        ) from error
    return program


def _refuse_lost(host: Beneath) -> None:
    """
    Raises:
        ChangedError: ashore's state was there, and is gone.
    """
    state = state_of(host)
    if state.fd is not None:
        state.close()


def is_first(host: Beneath) -> bool:
    """Whether nothing on the host tells of ashore yet."""
    if host.is_there(PROGRAM_LINK):
        return False
    state = State(host)
    try:
        return state.fd is None or not os.listdir(state.fd)
    finally:
        state.close()


def withdraw(host: Beneath, program: str) -> None:
    """In the container: what was placed first was for nothing, so nothing is to tell of it.

    It stays where another installer has brought its own meanwhile, or another ashore is at work or has something there.
    """
    link = host.physical(PROGRAM_LINK)
    state = State(host)
    try:
        if state.fd is None or (host.lstat(link) is not None and host.readlink(link) != f"/{program}"):
            return
        with state.locked():
            if History(state).numbers() or journal.exists(state):
                return
            if not ownunits.is_anothers(host, RECOVER_PATH, OURS):
                ownunits.drop(host, RECOVER_UNITS, RECOVER_LINKS)
            ownbuild.take_away(host)
            drop_incoming(host)
            made = ownfolders.made(state)
            ownfolders.drop(host, made)
            state.purge()
            ownfolders.drop(host, made)  # those above the state as well
    except (AshoreError, OSError):
        return  # why it came to that is what is told
    finally:
        state.close()


def leave(tools: Tools, error: AshoreError, layout: str) -> None:
    """On the host: ashore came with an image, in `layout`, that could not be installed, so it goes again.

    It stays where it is still needed: to recover, for what was there before, and where the image is held and a boot
    would try it again but for that note.
    """
    if isinstance(error, (ChangedError, BusyError)) or (tools.history.held() and boots_again(tools)):
        return
    if tools.history.numbers() or _others(tools.host, layout):
        return
    drop_incoming(tools.host)
    try:
        farewell(tools)
        tools.progress.say("nothing was installed, so ashore is gone from this host again")
    except AshoreError as why:
        tools.progress.say(f"what the installer placed stays: {why}")


def place_recovery(host: Beneath) -> bool:
    """Have the unit that recovers at boot on the host, and enabled; whether that is new. A mask stays.

    Raises:
        UnchangedError: it cannot be written.
    """
    try:
        if ownunits.is_anothers(host, RECOVER_PATH, OURS):
            return False
        return ownunits.place(host, RECOVER_UNITS, RECOVER_LINKS)
    except OSError as error:
        raise UnchangedError(f"cannot write {RECOVER_PATH}", cause=words_of(error)) from error


def drop_layout(host: Beneath, layout: str) -> None:
    """What was brought is installed, or refused: it is not needed any more."""
    if os.path.dirname(layout.lstrip("/")) == INCOMING and not _others(host, layout):
        drop_incoming(host)


def _others(host: Beneath, layout: str) -> set[str]:
    """What another installer has brought since, and dropped this one for."""
    try:
        return set(os.listdir(os.path.join(host.root, host.physical(INCOMING)))) - {os.path.basename(layout)}
    except FileNotFoundError:
        return set()


def drop_incoming(host: Beneath) -> None:
    """What installers brought is needed by nobody any more."""
    shutil.rmtree(os.path.join(host.root, host.physical(INCOMING)), ignore_errors=True)


def _issues(root: str) -> Sequence[Issue]:
    if not os.path.isdir(os.path.join(root, "etc")):
        return [Issue(where=root, message="the host's root is not mounted here", remedy="add -v /:/rootfs")]
    if os.geteuid() != 0:
        return [Issue(where="", message="this is not root", remedy="leave out --user")]
    issues = []
    if _in_own_pid_namespace(root):
        issues.append(Issue(where="", message="the host's processes are not visible here", remedy="add --pid=host"))
    elif not is_live(root):
        message = "no systemd runs there, or it may not be looked at"
        issues.append(
            Issue(where=root, message=message, remedy="add --privileged; the host must be booted with systemd")
        )
    elif not _takes_connections(os.path.join(root, "run", "dbus", "system_bus_socket")):
        issues.append(Issue(where="", message="the host's message bus does not run", remedy="start dbus on the host"))
    if not any(os.path.exists(os.path.join(root, path)) for path in _SYSTEMD_RUN):
        issues.append(Issue(where="", message="the host has no systemd-run", remedy="it comes with systemd"))
    return issues


def _takes_connections(path: str) -> bool:
    """Whether somebody listens: a socket's file stays when its server goes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_SECONDS)
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def _in_own_pid_namespace(root: str) -> bool:
    try:
        own = os.readlink(os.path.join("/proc", "self", "ns", "pid"))  # the container's, not the host's
        return own != os.readlink(os.path.join(root, "proc", "1", "ns", "pid"))
    except OSError:
        return not os.path.isdir(os.path.join(root, "proc", "1"))


def _place_issues(root: str) -> Sequence[Issue]:
    issues = []
    with Beneath(root) as host:
        for path in (BUILDS, "var/lib", "etc"):
            where = os.path.join(root, host.physical_folder(path))
            while not os.path.isdir(where):
                where = os.path.dirname(where)
            flags = os.statvfs(where).f_flag
            if flags & os.ST_RDONLY:
                message = "cannot be written: its file system is read-only"
                issues.append(
                    Issue(where=f"/{path}", message=message, remedy=f"have it writable: {_REMOUNT},rw /{path}")
                )
            elif path == BUILDS and flags & os.ST_NOEXEC:
                message = "nothing can be run there: it is mounted noexec"
                issues.append(Issue(where=f"/{path}", message=message, remedy=f"have it run: {_REMOUNT},exec /{path}"))
    return issues


def _place_layout(host: Beneath, source: str, name: str) -> str:
    State(host).prepare()
    try:
        incoming = ownfolders.make(host, INCOMING)
        target = os.path.join(incoming, name)
        for left in os.listdir(incoming):
            shutil.rmtree(os.path.join(incoming, left), ignore_errors=True)
        ownbuild.copy_tree(source, target)
    except OSError as error:
        raise UnchangedError("cannot place the image on the host", cause=words_of(error)) from error
    return f"{INCOMING}/{name}"
