# SPDX-License-Identifier: Apache-2.0
"""Bundle + facts + values -> the files that a host should hold. No I/O.

Nothing changes on a host before all templates of all bundles were rendered: an unknown name stops here.
"""

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ashore.errors import InputError, Issue
from ashore.nouns import digest
from ashore.nouns.bundle import Bundle, FileRule, Health
from ashore.nouns.digest import Digest
from ashore.nouns.facts import Facts
from ashore.nouns.files import Entry, Kind, Wanted, format_mode, printable, shown
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.owners import Owners
from ashore.rules.bundles.placing import host_path, is_shell, rule_for
from ashore.rules.bundles.reads import Reads, dotted
from ashore.rules.bundles.templates import Templates
from ashore.rules.bundles.values import Values
from ashore.rules.files.threeway import default_policy
from ashore.rules.triggers import sysctl
from ashore.rules.triggers.kinds import Kind as Trigger
from ashore.rules.triggers.kinds import kind_of
from ashore.rules.triggers.sysusers import with_newcomers

_CAPABILITY = "security.capability"
_NO_RULE = FileRule(path="")
"""What a manifest without [[files]] says of every path."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What one bundle wants on one host."""

    wanted: Mapping[str, Wanted]
    contents: Mapping[Digest, bytes]
    """The rendered files' bytes."""
    facts_used: tuple[str, ...] = ()
    """Dotted names that templates read, whether they were there or not."""
    values_used: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stray: frozenset[str] = frozenset()
    """Values that were meant for this bundle, and that it neither declares nor reads."""
    health: tuple[Health, ...] = ()
    enable: tuple[str, ...] | None = None
    """As the manifest has both, with their templates rendered."""


def render(
    bundle: Bundle,
    facts: Facts,
    values: Values,
    owners: Owners,
    *,
    limits: Limits = DEFAULT,
    clock: Callable[[], float] = time.monotonic,
) -> Rendered:
    """Render a bundle for a host.

    Args:
        values: from `merge_values` of this bundle's manifest.
        owners: the target root's users and groups.

    Raises:
        InputError: every template that fails, with ``file:line``, and every owner that the host lacks.
    """
    templates = Templates(facts, values, limits, clock)
    issues: list[Issue] = []
    wanted: dict[str, Wanted] = {}
    contents: dict[Digest, bytes] = {}
    used = Reads()
    notes: list[str] = []
    makers = {path for path, entry in bundle.entries.items() if _makes_users(bundle, path, entry)}
    for path in (*sorted(makers), *sorted(bundle.entries.keys() - makers)):
        entry = bundle.entries[path]
        rule = rule_for(bundle.manifest, path, entry.kind) if bundle.manifest.files else _NO_RULE
        target = host_path(bundle.manifest, path, entry.kind)
        secret = False
        shell = is_shell(bundle.manifest, path, entry.kind)
        if shell or target != path:
            text, problems = templates.render(path, bundle.texts[entry.digest], shell=shell)
            issues += problems
            reads = templates.scope.reads
            used.add(reads)
            secret = bool(reads.secrets)
            entry = _with_content(entry, text, contents)
        if path in makers:
            data = contents.get(entry.digest) or bundle.texts[entry.digest]
            owners = with_newcomers(owners, [data.decode(errors="replace")])
        if target.endswith(".conf") and entry.kind is Kind.FILE and kind_of(target) is Trigger.SYSCTL:
            issues += _setting_nothing(bundle, path, entry, contents)
        item, problems = _wanted(bundle, target, entry, rule, owners, secret=secret)
        issues += problems
        wanted[target] = item
        if secret or item.entry.mode & 0o6000 or item.entry.xattrs:
            notes += _notes(item)
    health, enable = bundle.manifest.health, bundle.manifest.enable
    if bundle.manifest.templates:
        from ashore.rules.bundles.declared import declared  # late: of most bundles nothing is asked of it

        health, enable, problems = declared(bundle.manifest, templates, used)
        issues += problems
    if issues:
        raise InputError(f"the bundle {bundle.manifest.name} cannot be rendered for this host", issues=_unique(issues))
    read = {path[0] for path in used.values if path}
    stray = {name: hint for name, hint in values.stray.items() if name not in read}
    notes += [
        f"the bundle {bundle.manifest.name} neither declares nor reads a value {printable(name)}{hint}"
        for name, hint in stray.items()
    ]
    return Rendered(
        wanted=_links_kept(wanted),
        contents=contents,
        facts_used=tuple(sorted(map(dotted, used.facts))),
        values_used=tuple(sorted(map(dotted, used.values))),
        notes=tuple(notes),
        stray=frozenset(stray),
        health=health,
        enable=enable,
    )


def _makes_users(bundle: Bundle, path: str, entry: Entry) -> bool:
    """Whether it is a sysusers.d(5) file: those come first, since files may belong to the users that they make."""
    return entry.kind is Kind.FILE and kind_of(host_path(bundle.manifest, path, entry.kind)) is Trigger.SYSUSERS


def _setting_nothing(bundle: Bundle, path: str, entry: Entry, contents: Mapping[Digest, bytes]) -> Iterable[Issue]:
    """Lines of a sysctl.d(5) file for which the host's program would fail; of a template without what stands there."""
    made = contents.get(entry.digest)
    text = (made if made is not None else bundle.texts[entry.digest]).decode(errors="replace")
    where = printable(path)
    for number, message in sysctl.faults(text):
        if made is None:
            yield Issue(where=f"{where}:{number}", message=message, remedy=sysctl.REMEDY)
        else:
            yield Issue(where=where, message=f"line {number} of what it makes sets nothing", remedy=sysctl.REMEDY)


def _with_content(entry: Entry, text: bytes, contents: dict[Digest, bytes]) -> Entry:
    content = digest.of(text)
    contents[content] = text
    return msgspec.structs.replace(entry, digest=content, size=len(text), link="")


def _wanted(
    bundle: Bundle, path: str, entry: Entry, rule: FileRule, owners: Owners, *, secret: bool
) -> tuple[Wanted, list[Issue]]:
    ids, issues = _ids(path, rule, owners)
    mode = _mode(entry, rule, secret=secret)
    if ids or mode != entry.mode:
        entry = msgspec.structs.replace(entry, mode=mode, **ids)
    item = Wanted(
        path=path,
        entry=entry,
        bundle=bundle.manifest.name,
        on_edit=rule.on_edit or default_policy(path),
        adopt=bool(rule.adopt),
        secret=secret,
        validate=rule.validate or (),
        reload=rule.reload or (),
        restart=rule.restart or (),
    )
    return item, issues


def _ids(path: str, rule: FileRule, owners: Owners) -> tuple[dict[str, int], list[Issue]]:
    """The numbers of the owners that a rule names, and those that this host does not know."""
    issues: list[Issue] = []
    ids: dict[str, int] = {}
    if rule.owner is None and rule.group is None:
        return ids, issues
    for key, kind, name, id_of in (
        ("uid", "user", rule.owner, owners.user),
        ("gid", "group", rule.group, owners.group),
    ):
        if name is None:
            continue
        if (found := id_of(name)) is not None:
            ids[key] = found
        else:
            remedy = "create it first, or let the bundle ship a sysusers.d(5) file that does"
            issues.append(
                Issue(where=shown(path), message=f"the {kind} {name} does not exist on this host", remedy=remedy)
            )
    return ids, issues


def _mode(entry: Entry, rule: FileRule, *, secret: bool) -> int:
    if entry.kind is Kind.SYMLINK:
        return entry.mode
    if rule.mode is not None:
        return rule.mode
    return entry.mode & 0o700 if secret else entry.mode


def _notes(item: Wanted) -> Iterable[str]:
    mode = item.entry.mode
    if item.entry.kind is Kind.FILE and mode & 0o6000:
        bits = " and ".join(name for bit, name in ((0o4000, "setuid"), (0o2000, "setgid")) if mode & bit)
        yield f"{shown(item.path)} is {bits} ({format_mode(mode)})"
    if _CAPABILITY in item.entry.xattrs:
        yield f"{shown(item.path)} has file capabilities"
    if item.secret and mode & 0o077:
        yield f"{shown(item.path)} holds a secret value and others may read it ({format_mode(mode)})"


def _links_kept(wanted: Mapping[str, Wanted]) -> dict[str, Wanted]:
    """Hard links only where both names still have one content, mode and owner."""
    kept = {}
    for path, item in wanted.items():
        if item.entry.link:
            first = wanted.get(item.entry.link)
            if first is None or not first.entry.same(item.entry):
                item = msgspec.structs.replace(item, entry=msgspec.structs.replace(item.entry, link=""))
        kept[path] = item
    return kept


def _unique(issues: Iterable[Issue]) -> list[Issue]:
    return list(dict.fromkeys(issues))
