# SPDX-License-Identifier: Apache-2.0
"""An inspection as text for people. No I/O."""

import shlex
from collections.abc import Iterator, Sequence

from ashore.acts.author.inspect import FileShown, Inspection
from ashore.nouns.amounts import size
from ashore.nouns.bundle import Health, ValueSpec
from ashore.nouns.duration import duration
from ashore.nouns.files import Kind, printable
from ashore.rules.bundles.typed import toml_text


def inspection_text(found: Inspection) -> str:
    """All of it, a section each for what there is."""
    return "\n".join(_lines(found))


def _lines(found: Inspection) -> Iterator[str]:
    yield f"{found.name} {printable(found.version)}".rstrip()
    yield f"  image     {found.reference}"
    yield f"  digest    {found.digest}"
    if found.manifest_digest != found.digest:
        yield f"  manifest  {found.manifest_digest}"
    yield f"  platform  {printable(found.platform)}"
    for layer in found.layers:
        yield f"  layer     {layer.digest}  {size(layer.size)}  {printable(layer.media_type)}"
    if found.values:
        yield "values"
        yield from (f"  {name}{_value(spec)}" for name, spec in sorted(found.values.items()))
    if found.units:
        yield "units"
        yield from (f"  {printable(unit.name)}  {'enabled' if unit.enable else 'not enabled'}" for unit in found.units)
    if found.health:
        yield "health"
        yield from (f"  {_health(health)}" for health in found.health)
    if commands := list(_commands(found)):
        yield "commands that run as root on a live host"
        yield from (f"  {line}" for line in commands)
    if found.confirm is not None:
        within, by = duration(found.confirm.within), found.confirm.by
        yield "confirmation"
        yield f"  within {within}, by {by}" if found.confirm.within else "  none"
    yield "files"
    yield from (f"  {_file(file)}" for file in found.files)


def _health(health: Health) -> str:
    probe = health.http or health.tcp or _command(health.command)
    parts = [printable(part) for part in (health.unit, probe) if part]
    return f"{'  '.join(parts)}  within {duration(health.within)}"


def _commands(found: Inspection) -> Iterator[str]:
    for validator in found.validators:
        yield f"validate {printable(validator.path)}: {_command(validator.command)}"
    for step in found.steps:
        yield f"{step.phase} {printable(step.name)}: {_command(step.command)}  ({printable(step.reason)})"
    for health in found.health:
        if health.command:
            yield f"health: {_command(health.command)}"


def _command(argv: Sequence[str]) -> str:
    """As it can be pasted into a shell."""
    return printable(shlex.join(argv))


def _value(spec: ValueSpec) -> str:
    said = [word for word, holds in (("required", spec.required), ("secret", spec.secret)) if holds]
    said += [spec.type] if spec.type else []
    said += [f"one of {printable(', '.join(map(toml_text, spec.choices)))}"] if spec.choices else []
    default = f" = {printable(str(spec.default))}" if spec.default is not None else ""
    words = f"  ({', '.join(said)})" if said else ""
    return default + words + (f"  {printable(spec.description)}" if spec.description else "")


def _file(file: FileShown) -> str:
    notes = [
        *(["template"] if file.template else []),
        *(["setuid or setgid"] if int(file.mode, 8) & 0o6000 and file.kind is Kind.FILE else []),
        *(printable(name) for name in file.xattrs),
    ]
    owner = f"  {file.uid}:{file.gid}" if file.uid or file.gid else ""
    amount = f"  {size(file.size)}" if file.kind is Kind.FILE else ""
    target = f" -> {printable(file.target)}" if file.target else ""
    slash = "/" if file.kind is Kind.DIR else ""
    return f"{file.mode}{owner}  {file.path}{slash}{target}{amount}" + (f"  [{', '.join(notes)}]" if notes else "")
