# SPDX-License-Identifier: Apache-2.0
"""Put the real mechanisms together for a command: the only place that looks at this process's environment."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import msgspec

from ashore.acts.tools import Tools, open_root
from ashore.cli.options import NOTHING_GIVEN, Given, seconds_to_wait
from ashore.cli.progress import shown
from ashore.errors import InputError, UsageError, unread_because
from ashore.nouns import reference
from ashore.nouns.ask import NOTHING, Ask
from ashore.nouns.config import CONFIG_PATH
from ashore.nouns.facts import Facts
from ashore.nouns.files import printable
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.ports import ImageReader, ImageWriter, Progress
from ashore.nouns.reference import ImageReference, Transport

if TYPE_CHECKING:
    from ashore.mechanisms.beneath import Beneath
    from ashore.mechanisms.images.transports import SettingsFactory
    from ashore.mechanisms.registry import RegistrySettings


@contextmanager
def wired(root: str, *, facts_file: str | None = None, rate: int = 0) -> Iterator[Tools]:
    """The tools for a root. PID 1 is reached only where the root is its own."""
    from ashore.mechanisms.host.processes import ProcFolder
    from ashore.mechanisms.host.programs import HostPrograms
    from ashore.mechanisms.images.cache import Cache
    from ashore.mechanisms.pid1.systemd import connect, is_live

    host, state, history, content = open_root(root)
    live = is_live(root)
    limits = at_rate(_limits(host), rate)
    with host, closing(Cache(cache_folder())) as cache, shown() as progress:
        if seconds := seconds_to_wait():
            from ashore.mechanisms.state.patience import Patience

            state.patience = Patience(seconds, progress.say).lasts
        yield Tools(
            host=host,
            state=state,
            history=history,
            content=content,
            cache=cache,
            progress=progress,
            open_image=image_opener(root, progress, limits),
            limits=limits,
            facts=functools.cache(lambda: _facts(root, live, facts_file)),
            systemd=connect(root) if live else None,
            processes=ProcFolder(root) if live else None,
            programs=HostPrograms(root if live else "/"),
            boot=_boot_id() if live else "",
            program=_program(root),
        )


def limits_of(root: str) -> Limits:
    """What the configuration of `root` takes from outside, at the most.

    Raises:
        InputError: all that is wrong with the configuration.
    """
    from ashore.mechanisms.beneath import Beneath

    with Beneath(root) as host:
        return _limits(host, refuse=True)


def at_rate(limits: Limits, rate: int) -> Limits:
    """With what the command line says of the rate, if it says something."""
    return msgspec.structs.replace(limits, rate=rate) if rate else limits


def image_opener(root: str, progress: Progress, limits: Limits) -> Callable[[ImageReference], ImageReader]:
    """How references become readers: the registry's settings are those of `root`."""

    def open_image(name: ImageReference) -> ImageReader:
        from ashore.mechanisms.images.transports import open_reader

        return open_reader(name, settings_factory=settings_factory(root, limits), progress=progress, limits=limits)

    return open_image


@contextmanager
def image_writer(root: str, name: ImageReference, progress: Progress, limits: Limits) -> Iterator[ImageWriter]:
    """A place for an image."""
    from ashore.mechanisms.images.transports import open_writer

    with open_writer(name, settings_factory=settings_factory(root, limits), progress=progress, limits=limits) as writer:
        yield writer


def settings_factory(root: str, limits: Limits) -> "SettingsFactory":
    """The registry's settings, read when they are first needed."""

    def settings() -> "RegistrySettings":
        from ashore.mechanisms.registry import load_settings

        return load_settings(root, os.environ, os.path.expanduser("~"), limits=limits)

    return settings


def asks(
    references: Sequence[str], given: Given = NOTHING_GIVEN, *, root_in_image: str = "", recorded_as: str | None = None
) -> list[Ask]:
    """What the command line asks for.

    Raises:
        InputError, UsageError: a reference or a value is malformed, or a file cannot be read.
    """
    asked = ask_of_values(given)
    found = [
        msgspec.structs.replace(asked, reference=reference.parse(_absolute(text)), root_in_image=root_in_image)
        for text in references
    ]
    return [_recorded_as(recorded_as, found)] if recorded_as is not None else found


def _recorded_as(name: str, found: Sequence[Ask]) -> Ask:
    """The image of a folder or an archive, by the name that it has in a registry."""
    if len(found) != 1 or found[0].reference.transport is Transport.REGISTRY:
        cause = "it names one image that comes from a folder or an archive"
        raise UsageError("--reference does not fit here", cause=cause, remedy="give one IMAGE, like oci-archive:FILE")
    named = reference.parse(name)
    if named.transport is not Transport.REGISTRY:
        raise UsageError(f"{named} is in no registry", remedy="name the image as it is pushed")
    return msgspec.structs.replace(found[0], written=str(named))


def ask_of_values(given: Given) -> Ask:
    """What the options about values say, for a reference that is filled in later."""
    sets = _values(given.sets, given.set_files)
    return msgspec.structs.replace(NOTHING, sets=sets, unset=given.unset, reset=given.reset)


def tell_ready() -> None:
    """Tell whoever started this service that units may start."""
    from ashore.mechanisms.pid1.notify import ready

    ready()


def leave_answer(root: str, code: int, text: str) -> None:
    """For whoever does not follow this service to its end."""
    from ashore.mechanisms.pid1.answer import leave

    leave(root, code, text)


def cache_folder() -> str:
    """Where `plan` keeps what it fetched: $ASHORE_CACHE, else the XDG or system cache folder."""
    if named := os.environ.get("ASHORE_CACHE"):
        return named
    if os.geteuid() == 0 and "XDG_CACHE_HOME" not in os.environ:
        return "/var/cache/ashore"
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ashore")


def _limits(host: "Beneath", *, refuse: bool = False) -> Limits:
    """Those of the host's configuration. If that is wrong, the defaults: whatever uses them refuses it in time."""
    try:
        said = b"limits" in host.read_bytes(CONFIG_PATH, DEFAULT.bundle_toml)
    except OSError:
        return DEFAULT
    if not said:
        return DEFAULT
    from ashore.mechanisms.host.config import read_config

    try:
        return read_config(host).limits
    except InputError:
        if refuse:
            raise
        return DEFAULT


def _values(sets: Sequence[str], set_files: Sequence[str]) -> dict[str, object]:
    if not sets and not set_files:
        return {}
    from ashore.rules.bundles.values import parse_set

    values: dict[str, object] = {}
    for key, value in map(parse_set, sets):
        values.pop(key, None)  # said again, it comes after what was said since
        values[key] = value
    for text in set_files:
        key, equals, path = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--set-file {key!r} is not KEY=FILE")
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(DEFAULT.template + 1)
        except (OSError, UnicodeDecodeError) as error:
            remedy = f"write --set-file {key}=FILE with a text file of this machine"
            message = f"cannot read the value of {key} from {printable(path)}"
            raise UsageError(message, cause=unread_because(error), remedy=remedy) from error
        if len(text) > DEFAULT.template:
            raise UsageError(f"the value of {key} is too long: {path} has more than {DEFAULT.template} characters")
        values[key] = text.rstrip("\n")
    return values


def _absolute(text: str) -> str:
    """A layout or archive is recorded by its absolute path: an upgrade runs from another folder."""
    head, colon, rest = text.partition(":")
    if colon and head in {"oci", "oci-archive", "docker-archive"} and rest and not rest.startswith("/"):
        if ":" in (folder := os.getcwd()):
            raise UsageError(f"{text} cannot be recorded: a path ends at the first colon, and one is in {folder}")
        return f"{head}:{os.path.join(folder, rest)}"
    return text


def _facts(root: str, live: bool, facts_file: str | None) -> Facts:
    if facts_file:
        from ashore.mechanisms.host.factsfile import load

        return load(facts_file)
    from ashore.mechanisms.beneath import Beneath
    from ashore.mechanisms.host.facts import collect, runs_here

    with Beneath(root) as host:
        # Where PID 1 is another init, or we may not ask it, the kernel's answers are still about this root.
        return collect(host, live=live or runs_here(root))


def _program(root: str) -> tuple[str, ...]:
    """How a unit runs this ashore: by the link that follows its upgrades, where that leads here."""
    from ashore.mechanisms.pid1.handover import own_command
    from ashore.nouns.installer import PROGRAM_LINK

    command = own_command()
    link = os.path.join(root, PROGRAM_LINK)
    return (f"/{PROGRAM_LINK}",) if os.path.realpath(link) == os.path.realpath(command[0]) else command


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
