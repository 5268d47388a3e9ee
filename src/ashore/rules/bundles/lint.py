# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a bundle's folder beyond its manifest: templates, units, rules that name nothing. No I/O."""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from ashore.errors import Issue
from ashore.nouns.bundle import BundleManifest, Phase
from ashore.nouns.files import Entry, Kind, printable
from ashore.nouns.shape import nearest
from ashore.nouns.toml import Document, Key
from ashore.rules.bundles.bundle import ROOT
from ashore.rules.bundles.placing import host_path, is_glob, matches
from ashore.rules.bundles.templated import is_templated
from ashore.rules.images.packing import holds_key
from ashore.rules.triggers import sysctl
from ashore.rules.units import unitfile
from ashore.rules.units.enablement import drop_in_folders, has_install, template_of, unit_of
from ashore.rules.units.unitpaths import shipped

_SECTIONS = {  # without which systemd does not load a unit: a target or an automount needs none
    ".service": "Service",
    ".socket": "Socket",
    ".timer": "Timer",
    ".path": "Path",
    ".mount": "Mount",
    ".swap": "Swap",
}
_ANY_LINE = re.compile(r"^[^=\n]*(?:\{\{|\$)", re.MULTILINE)
"""What stands in a template before any =: a section may come of it, or all of a file."""


class Severity(StrEnum):
    ERROR = "error"
    """It cannot be built or installed, or does not do what it says."""
    WARNING = "warning"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that lint has to say."""

    severity: Severity
    where: str
    message: str
    remedy: str = ""

    @property
    def order(self) -> tuple[str, int, str]:
        """By file, line and text."""
        file, _, line = self.where.rpartition(":")
        return (file, int(line), self.message) if line.isdigit() else (self.where, 0, self.message)


def error(where: str, message: str, remedy: str = "") -> Finding:
    return Finding(severity=Severity.ERROR, where=where, message=message, remedy=remedy)


def warning(where: str, message: str, remedy: str = "") -> Finding:
    return Finding(severity=Severity.WARNING, where=where, message=message, remedy=remedy)


def as_errors(issues: Iterable[Issue]) -> Iterator[Finding]:
    return (error(issue.where, issue.message, issue.remedy) for issue in issues)


def as_warnings(issues: Iterable[Issue]) -> Iterator[Finding]:
    return (warning(issue.where, issue.message, issue.remedy) for issue in issues)


def rule_findings(manifest: BundleManifest, document: Document, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """[[files]] and [templates] shell that name nothing."""
    names = [name for path, entry in entries.items() for name in {path, host_path(manifest, path, entry.kind)}]
    lifted = [include.to for include in manifest.includes]
    asked: list[tuple[Key, str]] = [(("files", n, "path"), rule.path) for n, rule in enumerate(manifest.files)]
    asked += [(("templates", "shell", n), path) for n, path in enumerate(manifest.shell_templates)]
    for key, pattern in asked:
        # What an include lifts is not here yet; a glob may well mean it.
        if not any(matches(pattern, name) for name in names) and not any(_may_name(pattern, to) for to in lifted):
            near = "" if is_glob(pattern) else nearest(pattern, names)
            yield error(document.place(key), f"{key[0]}: {printable(pattern)} names nothing below {ROOT}/{near}")


def _may_name(pattern: str, to: str) -> bool:
    literal = re.split(r"[*?\[]", pattern)[0]
    return matches(pattern, to) or literal.startswith(f"{to}/") or f"{to}/".startswith(literal)


def include_findings(manifest: BundleManifest, document: Document, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """[[include]] entries that land on each other, or on something below root/."""
    for number, include in enumerate(manifest.includes):
        place = document.place(("include", number, "to"))
        for other in manifest.includes[:number]:
            if _overlap(include.to, other.to):
                # Which files both bring is known when it is built; two folders may well go into one.
                text = f"{include.to} overlaps the include of {other.source} to {other.to}"
                yield warning(place, text, "a path that both bring cannot be built")
        found = entries.get(include.to)
        if found is not None and found.kind is not Kind.DIR:
            yield error(place, f"{include.to} exists as a {found.kind} below {ROOT}/", "remove one of them")


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def enable_findings(manifest: BundleManifest, document: Document, units: Mapping[str, str]) -> Iterator[Finding]:
    """Units to enable that are not shipped, or that [Install] does not say how to enable. `units`: texts by name."""
    for number, unit in enumerate(manifest.enable or ()):
        place = document.place(("units", "enable", number))
        name = unit if unit in units else template_of(unit) or unit
        if is_templated(name):  # any name may come of it
            continue
        if name in units:
            if not has_install(units[name]):
                yield warning(place, f"{unit} has no [Install] section: it is started, and not again after a boot")
        else:  # however near the name of one that is: nfs-server.service is the host's
            near = _near_unit(unit, units)
            yield warning(place, f"{unit} is not shipped{near}", "a host that does not have it refuses the bundle")


def health_findings(manifest: BundleManifest, document: Document, units: Mapping[str, str]) -> Iterator[Finding]:
    """Checks that have no time, and units that are not shipped where one of nearly that name is: others are the host's.

    A host takes both: it may have the unit, and may have such a bundle by now.
    """
    for number, health in enumerate(manifest.health):
        if not health.within:
            place = document.place(("health", number, "within"))
            yield error(place, "within 0s nothing can start or answer", 'write how long it may take, like "30s"')
        known = units.keys() & {health.unit, template_of(health.unit)}
        if health.unit and not known and not is_templated(health.unit) and (near := _near_unit(health.unit, units)):
            place = document.place(("health", number, "unit"))
            yield warning(
                place, f"{health.unit} is not shipped{near}", "a host that does not have it refuses the bundle"
            )


def step_findings(manifest: BundleManifest, document: Document, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """[[step]] entries that run before files are placed, with a program that the bundle itself brings."""
    brought = {host_path(manifest, path, entry.kind) for path, entry in entries.items()}
    for number, step in enumerate(manifest.steps):
        program = step.command[0].lstrip("/")
        if step.phase is Phase.BEFORE and step.command[0].startswith("/") and program in brought:
            yield warning(
                document.place(("step", number, "command")),
                f"the step {step.name} runs {step.command[0]}, which is not there yet at the first install",
                "let it run a program of the host",
            )


def _near_unit(unit: str, units: Iterable[str]) -> str:
    """The hint at a shipped unit of the same type whose name is near."""
    stem, _, suffix = unit.rpartition(".")
    near = nearest(stem, [other.rpartition(".")[0] for other in units if other.endswith(f".{suffix}")])
    return near.replace('"?', f'.{suffix}"?')


def unit_findings(
    path: str, target: str, text: str, dropins: Iterable[str] = (), *, shell: bool = False
) -> Iterator[Finding]:
    """Faults of a unit file that systemd would log and ignore, or refuse; `target` is its path on the host.

    Of a template, a `shell` one as well, only what holds however it is rendered. `dropins`: the texts that the bundle
    lays over it.

    Source: systemd.syntax(7), systemd.service(5).
    """
    where = printable(f"{ROOT}/{path}")
    as_it_is = path == target and not shell
    if as_it_is:
        yield from _line_findings(where, text.removeprefix("\ufeff"))
    unit = unit_of(target)
    if unit is None or not target.endswith(f"/{unit}") or not text:  # an empty file masks its unit
        return
    settings = unitfile.parse(text)
    section = _SECTIONS.get("." + unit.rpartition(".")[2])
    merged = (*settings, *unitfile.merged(dropins))
    if section is None or (not as_it_is and _ANY_LINE.search(text)):
        return
    if not merged:
        yield error(where, "holds no setting", "write [Unit], [Service] and so on")
    elif not any(setting.section == section for setting in merged) and not (
        section == "Service" and _does_something(merged)
    ):
        yield error(where, f"has no [{section}] section")
    elif section == "Service" and as_it_is:
        if not _does_something(merged):
            yield error(where, "has no ExecStart=")
        yield from _command_findings(where, settings)


def _does_something(settings: tuple[unitfile.Setting, ...]) -> bool:
    """Whether systemd takes a service with these."""
    runs = any(unitfile.values(settings, "Service", key) for key in ("ExecStart", "ExecStop"))
    oneshot = unitfile.last(settings, "Service", "Type") == "oneshot"
    return runs or oneshot or unitfile.last(settings, "Unit", "SuccessAction", "none") != "none"


def _command_findings(where: str, settings: tuple[unitfile.Setting, ...]) -> Iterator[Finding]:
    for setting in settings:
        if setting.key.startswith("Exec") and setting.section == "Service" and setting.value:
            command = setting.value.lstrip("@-:+!|").split()[:1]
            if command and "/" in command[0] and not command[0].startswith(("/", "%", '"', "'")):
                yield error(f"{where}:{setting.line}", f"{setting.key}={command[0]} is not an absolute path")


def _line_findings(where: str, text: str) -> Iterator[Finding]:
    continued = False
    section = ""
    # Not splitlines(): a value may hold what Unicode takes for the end of a line.
    for number, line in enumerate(re.split(r"\r?\n|\r|\0", text), 1):
        line = line.strip()
        if continued:
            continued = line.endswith("\\") or line.startswith(("#", ";"))
            continue
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            section = line
            if not line.endswith("]"):
                yield error(f"{where}:{number}", f"{printable(line[:80])!r} is not a section")
            continue
        continued = line.endswith("\\")
        if "=" not in line:
            yield error(f"{where}:{number}", f"{printable(line[:80])!r} has no =: systemd ignores it")
        elif not section:
            yield error(f"{where}:{number}", f"{printable(line[:80])!r} stands before any section: systemd ignores it")


def sysctl_findings(path: str, text: str) -> Iterator[Finding]:
    """Lines of a sysctl.d(5) file that set nothing."""
    where = printable(f"{ROOT}/{path}")
    return (error(f"{where}:{number}", message, sysctl.REMEDY) for number, message in sysctl.faults(text))


def key_findings(path: str, data: bytes) -> Iterator[Finding]:
    """A private key in an image is readable by everybody who may pull it."""
    if holds_key(data):
        where = printable(f"{ROOT}/{path}")
        yield warning(
            where,
            "holds a private key: everybody who may pull the image has it",
            "let the host bring it as a secret value",
        )


def shipped_units(manifest: BundleManifest, entries: Mapping[str, Entry], texts: Mapping[str, str]) -> dict[str, str]:
    """The bundle's unit files by name; `texts` are by path below root/."""
    placed = {host_path(manifest, path, entries[path].kind): text for path, text in texts.items()}
    return {unit: file.text for unit, file in shipped(placed).items()}


def drop_ins(unit: str, texts: Mapping[str, str]) -> list[str]:
    """Those of `texts` (by path on the host) that are drop-ins of `unit`."""
    folders = drop_in_folders(unit)
    return [text for path, text in texts.items() if path.endswith(".conf") and path.split("/")[-2] in folders]
