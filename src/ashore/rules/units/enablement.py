# SPDX-License-Identifier: Apache-2.0
"""What `systemctl enable` would link, from a unit's [Install] section: systemd.unit(5)."""

import re
from collections.abc import Mapping

import msgspec

from ashore.errors import InputError
from ashore.nouns.units import ADMIN_FOLDER, PULLING, UNIT_FOLDERS, UNIT_SUFFIXES, Enablement
from ashore.rules.units import unitfile
from ashore.rules.units.unitfile import Setting

_FOLDERS = dict(zip(("WantedBy", "RequiredBy", "UpheldBy"), PULLING, strict=True))
_KEYS = (*_FOLDERS, "Alias", "Also")
_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]*)?\.[a-z]+")
_SPECIFIER = re.compile(r"%(.?)")


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """A unit file of a bundle: where it lies below the root, and its text."""

    path: str
    text: str


def is_unit_name(name: str) -> bool:
    """Whether `name` is a unit's: ``x.service``, ``x@.service``, ``x@y.service``."""
    return len(name) <= 255 and name.endswith(UNIT_SUFFIXES) and bool(_NAME.fullmatch(name))


def unit_of(path: str) -> str | None:
    """The unit whose file or drop-in `path` is: ``etc/systemd/system/x.service.d/y.conf`` -> ``x.service``.

    None for everything else, also for drop-ins of a whole type (``service.d``).
    """
    for folder in UNIT_FOLDERS:
        if not path.startswith(folder + "/"):
            continue
        first, slash, rest = path[len(folder) + 1 :].partition("/")
        if slash:
            name = first.removesuffix(".d")
            return name if first != name and is_drop_in(rest) and is_unit_name(name) else None
        return first if is_unit_name(first) else None
    return None


def is_drop_in(name: str) -> bool:
    """Whether systemd would read a file of this name in a drop-in folder."""
    return name.endswith(".conf") and "/" not in name


def template_of(unit: str) -> str | None:
    """``getty@tty1.service`` -> ``getty@.service``; None for what is no instance."""
    prefix, at, rest = unit.partition("@")
    instance, _, suffix = rest.rpartition(".")
    return f"{prefix}@.{suffix}" if at and instance else None


def is_template(unit: str) -> bool:
    """Whether `unit` is a template: ``getty@.service``."""
    return "@." in unit and template_of(unit) is None


def instantiate(template: str, instance: str) -> str:
    """``getty@.service``, ``tty1`` -> ``getty@tty1.service``."""
    return template.replace("@.", f"@{instance}.", 1)


def drop_in_folders(unit: str) -> tuple[str, ...]:
    """The names of the folders whose ``*.conf`` apply to `unit`, the most general first.

    Source: systemd.unit(5): ``foo-bar@x.service`` reads ``service.d``, ``foo-.service.d``,
    ``foo-bar@.service.d`` and its own.
    """
    stem, _, suffix = unit.rpartition(".")
    dashes = [stem[: at + 1] for at, char in enumerate(stem.partition("@")[0]) if char == "-"]
    template = template_of(unit)
    return (
        f"{suffix}.d",
        *(f"{prefix}.{suffix}.d" for prefix in dashes if prefix != stem),
        *([f"{template}.d"] if template else []),
        f"{unit}.d",
    )


def has_install(text: str) -> bool:
    """Whether the unit can be enabled: its [Install] section has one of the keys that do something."""
    settings = unitfile.parse(text)
    return any(unitfile.values(settings, "Install", key) for key in _KEYS)


def also(unit: str, text: str) -> tuple[str, ...]:
    """The units of ``Also=``: they are enabled and disabled together with `unit`."""
    return tuple(_expanded(name, unit, "Also") for name in unitfile.names(unitfile.parse(text), "Install", "Also"))


def links_for(unit: str, text: str, unit_path: str) -> tuple[Enablement, ...]:
    """The symlinks that `systemctl enable unit` would make, without those of ``Also=``.

    `text` is the unit file's (a template's for an instance), `unit_path` its physical path below the
    root. A template without an instance is linked for its ``DefaultInstance=``, else by its aliases only.

    Raises:
        InputError: a name in [Install] is no unit's, or needs facts that are known at run time only.
    """
    settings = unitfile.parse(text)
    linked = default_instance(unit, text)
    paths: list[str] = []
    for key, ending in _FOLDERS.items():
        # A template without an instance can be wanted by another template only, once that has one.
        paths += [
            f"{ADMIN_FOLDER}/{name}{ending}/{linked}"
            for name in _names(settings, unit, key)
            if not is_template(linked) or is_template(name)
        ]
    for name in _names(settings, unit, "Alias"):
        alias = _alias(name, unit)
        if alias not in {unit, linked} and f"{ADMIN_FOLDER}/{alias}" != unit_path:
            paths.append(f"{ADMIN_FOLDER}/{alias}")
    target = "/" + unit_path
    return tuple(Enablement(unit=unit, path=path, target=target) for path in dict.fromkeys(paths))


def default_instance(unit: str, text: str) -> str:
    """What enabling `unit` makes run: of a template its ``DefaultInstance=``, if it has one, else itself.

    Raises:
        InputError: that instance needs facts that are known at run time only.
    """
    default = unitfile.last(unitfile.parse(text), "Install", "DefaultInstance") if is_template(unit) else ""
    return instantiate(unit, _expanded(default, unit, "DefaultInstance")) if default else unit


def enabled_by(path: str, target: str) -> str:
    """The unit that a symlink at `path` enables, by its name or as an alias; empty if it is none that does."""
    folder, _, name = path.rpartition("/")
    if not path.startswith(ADMIN_FOLDER + "/"):
        return ""
    if folder.endswith(PULLING):
        return name if is_unit_name(name) else ""
    unit = target.rpartition("/")[2]
    if folder != ADMIN_FOLDER or not (is_unit_name(name) and is_unit_name(unit)):
        return ""  # a mask, or no unit's at all
    instance = name.partition("@")[2].rpartition(".")[0]
    return instantiate(unit, instance) if is_template(unit) and instance else unit


def closure(enable: tuple[str, ...], shipped: Mapping[str, Shipped]) -> dict[str, tuple[Enablement, ...]]:
    """The links of all units to enable, those of ``Also=`` included, by unit.

    `shipped` has the bundle's unit files by name. A unit that the bundle does not ship (enabled by name
    only, or named by ``Also=``) has no links here: its text is not ours to read.
    """
    links: dict[str, tuple[Enablement, ...]] = {}
    waiting = list(enable)
    while waiting:
        unit = waiting.pop(0)
        file = shipped.get(unit) or shipped.get(template_of(unit) or "")
        if unit in links or file is None:
            continue
        links[unit] = links_for(unit, file.text, file.path)
        waiting += also(unit, file.text)
    return links


def _names(settings: tuple[Setting, ...], unit: str, key: str) -> list[str]:
    found = [_expanded(name, unit, key) for name in unitfile.names(settings, "Install", key)]
    for name in found:
        last = name.rpartition("/")[2] if key == "Alias" else name
        if not is_unit_name(last) or ".." in name.split("/") or name.startswith("/"):
            raise InputError(f"{unit}: {key}={name} names no unit", remedy=f"end it with one of {_suffixes()}")
    return found


def _alias(name: str, unit: str) -> str:
    """The alias as a name in the administrator's folder; a template's takes the unit's instance."""
    folder, slash, last = name.rpartition("/")
    if slash and not folder.endswith(PULLING):
        raise InputError(f"{unit}: Alias={name} is no alias", remedy="name a unit, or UNIT.wants/NAME")
    if slash:
        return name
    if last.rpartition(".")[2] != unit.rpartition(".")[2]:
        raise InputError(f"{unit}: Alias={name} has another suffix", remedy="an alias is of the unit's own type")
    if is_template(last) and template_of(unit):
        return instantiate(last, unit.partition("@")[2].rpartition(".")[0])
    if ("@" in last) != ("@" in unit):
        raise InputError(f"{unit}: Alias={name} mixes a template and a plain unit")
    return last


def _expanded(name: str, unit: str, key: str) -> str:
    """`name` with the specifiers that follow from the unit's name alone."""
    stem, _, _ = unit.rpartition(".")
    prefix, _, instance = stem.partition("@")
    known = {
        "%": "%",
        "n": unit,
        "N": stem,
        "p": prefix,
        "i": instance,
        "I": instance.replace("-", "/"),
        "j": prefix.rpartition("-")[2],
    }

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise InputError(
                f"{unit}: {key}={name} uses %{match[1]}, which is known on the host only",
                remedy="write the name, or make the unit file a template",
            )
        return known[match[1]]

    return _SPECIFIER.sub(value, name)


def _suffixes() -> str:
    return " ".join(UNIT_SUFFIXES)
