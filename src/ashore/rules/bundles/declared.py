# SPDX-License-Identifier: Apache-2.0
"""[[health]] and [units] enable as they are on one host: their templates rendered, and the outcome checked. No I/O."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from ashore.errors import Issue
from ashore.nouns.bundle import MANIFEST_NAME, BundleManifest, Health, Templated
from ashore.nouns.facts import Facts
from ashore.nouns.limits import DEFAULT
from ashore.nouns.shape import At, Unit
from ashore.nouns.toml import Document, Key
from ashore.rules.bundles.healthshape import Probe
from ashore.rules.bundles.reads import Reads
from ashore.rules.bundles.templates import Templates
from ashore.rules.bundles.values import merge_values

_RAW = "where the braces are meant for the command itself, write {% raw %}...{% endraw %} around them"


Declared = tuple[tuple[Health, ...], tuple[str, ...] | None, list[Issue]]
"""What has to hold, the units to enable (None as in the manifest), and what is wrong: then the others mean nothing."""


def declared(manifest: BundleManifest, templates: Templates, used: Reads) -> Declared:
    """What a bundle declares, for this host. What its templates read goes to `used`."""
    texts: dict[Key, str] = {}
    issues: list[Issue] = []
    for item in manifest.templates:
        place = f"{MANIFEST_NAME}:{item.line}"
        texts[item.key], problem = templates.text(_text(manifest, item))
        used.add(templates.scope.reads)
        if templates.scope.reads.secrets:
            issues.append(_secret(place, templates.scope.reads.secrets))
        elif problem:
            issues.append(_told(place, item, problem))
    if issues:
        return manifest.health, manifest.enable, issues
    return _filled_in(manifest, texts, MANIFEST_NAME)


def template_issues(manifest: BundleManifest, where: str, clock: Callable[[], float]) -> tuple[Issue, ...]:
    """What is wrong with the templates, as far as that is plain without a host: with the defaults, where there are any.

    `where` is how messages name the manifest. A value that it does not declare is the host's to give.
    """
    if not manifest.templates:
        return ()
    from ashore.rules.bundles.templatecheck import Checker

    checker = Checker(manifest)
    optional = {name: msgspec.structs.replace(spec, required=False) for name, spec in manifest.values.items()}
    values = merge_values(msgspec.structs.replace(manifest, values=optional))
    templates = Templates(Facts(), values, DEFAULT, clock)
    texts: dict[Key, str] = {}
    issues: list[Issue] = []
    for item in manifest.templates:
        place = f"{where}:{item.line}"
        if wrong := checker.issues(_text(manifest, item), "text"):
            issues += (_told(place, item, issue.message) for issue in wrong)
            continue
        names = checker.values_in(_text(manifest, item))
        text, problem = templates.text(_text(manifest, item))
        reads = templates.scope.reads
        if secrets := names & values.secrets | reads.secrets:
            issues.append(_secret(place, secrets))
        elif not reads.facts and {*names, *(path[0] if path else "" for path in reads.values)} <= values.tree.keys():
            issues += [_told(place, item, problem)] if problem else []
            texts |= {} if problem else {item.key: text}
    return (*issues, *_filled_in(manifest, texts, where)[2])


def undeclared(manifest: BundleManifest, where: str) -> tuple[Issue, ...]:
    """What its templates read and it does not declare."""
    if not manifest.templates:
        return ()
    from ashore.rules.bundles.templatecheck import Checker

    checker = Checker(manifest)
    return tuple(
        msgspec.structs.replace(issue, where=f"{where}:{item.line}")
        for item in manifest.templates
        for issue in checker.undeclared(_text(manifest, item), where)
    )


def _text(manifest: BundleManifest, item: Templated) -> str:
    top, second, *rest = item.key
    if top == "units":
        assert manifest.enable is not None and isinstance(rest[0], int)
        return manifest.enable[rest[0]]
    assert isinstance(second, int) and isinstance(rest[0], str)
    found = getattr(manifest.health[second], rest[0])
    text = found[rest[1]] if rest[1:] else found
    assert isinstance(text, str)
    return text


def _secret(place: str, names: AbstractSet[str]) -> Issue:
    text = f"reads the secret value {', '.join(sorted(names))}: records and messages show a check and a unit's name"
    return Issue(where=place, message=text, remedy="let a program that the bundle ships read it from a file")


def _told(place: str, item: Templated, problem: str) -> Issue:
    """A problem of a template; `docker inspect -f {{.State}}` is a template of somebody else."""
    return Issue(where=place, message=problem, remedy=_RAW if "command" in item.key else "")


def _filled_in(manifest: BundleManifest, texts: Mapping[Key, str], where: str) -> Declared:
    """The manifest's, with these texts for its templates; an entry that lacks one stays as it is, unchecked."""
    issues: list[Issue] = []
    lines = {item.key: item.line for item in manifest.templates}
    at = At(Document(where=where, data={}, lines=lines), issues)
    health = list(manifest.health)
    for number, one in enumerate(health):
        keys = [key for key in lines if key[:2] == ("health", number)]
        if keys and texts.keys() >= set(keys):
            read = Probe(rendered=True).read(_as_written(number, one, texts), at.below("health").below(number))
            health[number] = read if isinstance(read, Health) else one
    enable: list[str] = []
    for number, written in enumerate(manifest.enable or ()):
        unit = texts.get(("units", "enable", number))
        if unit:
            Unit().read(unit, at.below("units").below("enable").below(number))
        if unit != "":  # one that is for some hosts only
            enable.append(written if unit is None else unit)
    return tuple(health), None if manifest.enable is None else tuple(enable), issues


def _as_written(number: int, one: Health, texts: Mapping[Key, str]) -> dict[str, object]:
    """The entry as `bundle.toml` would have it without templates."""
    said = {name: value for name, value in msgspec.structs.asdict(one).items() if value not in ("", (), None)}
    said |= {str(key[2]): text for key, text in texts.items() if key[:2] == ("health", number)}
    if one.command:
        words = enumerate(one.command)
        said["command"] = [texts.get(("health", number, "command", place), word) for place, word in words]
    return said
