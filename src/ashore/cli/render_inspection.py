# SPDX-License-Identifier: Apache-2.0
"""An inspection as text for people. No I/O."""

from collections.abc import Iterator

from ashore.acts.author.inspect import FileShown, Inspection
from ashore.nouns.amounts import size
from ashore.nouns.bundle import ValueSpec
from ashore.nouns.files import Kind, printable


def inspection_text(found: Inspection) -> str:
    """All of it, a section each for what there is."""
    return "\n".join(_lines(found))


def _lines(found: Inspection) -> Iterator[str]:
    yield f"{found.name} {found.version}".rstrip()
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
    yield "files"
    yield from (f"  {_file(file)}" for file in found.files)


def _value(spec: ValueSpec) -> str:
    said = [word for word, holds in (("required", spec.required), ("secret", spec.secret)) if holds]
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
