# SPDX-License-Identifier: Apache-2.0
"""``ashore lint``: every problem of a bundle's folder at once, before it is built."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ashore.acts.author.parts import manifest_text, tops
from ashore.errors import InputError, Issue
from ashore.mechanisms.images import folder as folders
from ashore.mechanisms.images.sources import scan
from ashore.nouns.bundle import MANIFEST_NAME, BundleManifest, ValueSpec
from ashore.nouns.files import Entry, Kind, printable
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.toml import Document
from ashore.rules.bundles import lint as rules
from ashore.rules.bundles.bundle import ROOT, is_text, is_unit_file, tree_issues
from ashore.rules.bundles.declared import template_issues, undeclared
from ashore.rules.bundles.lint import Finding, Severity
from ashore.rules.bundles.manifest import is_spec, suspicions
from ashore.rules.bundles.partial import Partial, partial
from ashore.rules.bundles.placing import host_path, is_shell, is_template
from ashore.rules.bundles.templated import is_templated
from ashore.rules.images.packing import KEY_SIZE
from ashore.rules.triggers.kinds import Kind as Trigger
from ashore.rules.triggers.kinds import kind_of


class Tree(msgspec.Struct, frozen=True):
    """What one platform gets: ``root/`` with ``root.ARCH/`` laid over it."""

    folder: str
    entries: Mapping[str, Entry]
    sources: Mapping[str, str]
    """Path below root/ -> path below the bundle's folder."""

    def read(self, path: str, limit: int) -> bytes:
        return folders.read(self.folder, self.sources[path], limit) or b""

    def place(self, finding: Finding) -> Finding:
        """`finding` with the name that the file has in the folder."""
        path, colon, line = finding.where.removeprefix(f"{ROOT}/").partition(":")
        source = self.sources.get(path, "") if finding.where.startswith(f"{ROOT}/") else ""
        return msgspec.structs.replace(finding, where=f"{source}{colon}{line}") if source else finding


def lint(folder: str, limits: Limits = DEFAULT, *, to_build: bool = False) -> tuple[Finding, ...]:
    """All that is wrong or odd in the bundle at `folder`, in the order of its files and lines.

    Of a `bundle.toml` that is wrong, or a tree that cannot be read, nothing is found that may come of what is left out.

    `to_build`: nothing is read for warnings.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    names, wrong = tops(folder)
    try:
        data, findings = manifest_text(folder, limits), list[Finding]()
    except InputError as error:
        data, findings = b"", [rules.error(MANIFEST_NAME, _said(error), error.remedy)]
    if data is None and not names and not wrong:
        where = f"it holds neither {MANIFEST_NAME} nor {ROOT}/"
        return (rules.error(printable(folder), f"is no bundle: {where}", "ashore new NAME makes one"),)
    known = _manifest(data or b"", os.path.basename(os.path.realpath(folder)), limits, findings)
    findings += rules.as_errors(wrong)
    trees, lost = _trees(folder, names)
    findings += rules.as_errors(lost)
    names_of = known.names if known and not to_build else None
    for tree in trees:
        findings += map(tree.place, _tree_findings(tree, known, limits, names_of, whole=not lost))
        findings += () if to_build else map(tree.place, _key_findings(tree))
    if known:
        manifest, document = known.manifest, known.document
        if not lost and known.sure_of("include"):
            # What one platform alone has is named by a rule all the same.
            entries = {p: e for tree in trees for p, e in tree.entries.items()}
            findings += rules.rule_findings(manifest, document, entries)
        findings += rules.as_warnings(suspicions(data or b"", MANIFEST_NAME))
        findings += rules.as_errors(template_issues(manifest, MANIFEST_NAME, time.monotonic))
        findings += rules.as_warnings(undeclared(names_of, MANIFEST_NAME) if names_of else ())
        findings += _default_findings(manifest, document, names_of)
    return tuple(sorted(set(findings), key=lambda finding: finding.order))


def errors(folder: str, limits: Limits = DEFAULT) -> list[Issue]:
    """Those of a bundle's findings that are errors.

    Raises:
        InputError: as `lint`.
    """
    found = [finding for finding in lint(folder, limits, to_build=True) if finding.severity is Severity.ERROR]
    return [Issue(where=finding.where, message=finding.message, remedy=finding.remedy) for finding in found]


def failed(findings: tuple[Finding, ...]) -> bool:
    """Whether there is more than warnings."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def _trees(folder: str, names: Sequence[str]) -> tuple[list[Tree], list[Issue]]:
    """One for each platform that the folder is made for (a bundle for all has one), and what cannot be read."""
    found: dict[str, Entry] = {}
    lost: list[Issue] = []
    for name in names:

        def note(below: str, error: OSError, name: str = name) -> None:
            where = printable(os.path.join(name, below).rstrip("/"))
            lost.append(Issue(where=where, message=f"cannot be read: {error.strerror or error}"))

        sources = scan(os.path.join(folder, name), note)
        found |= {f"{name}/{path}": source.entry for path, source in sources.items()}
    base = _below(found, ROOT)
    special = [name for name in names if name != ROOT]
    laid = [base | _below(found, name) for name in special or names]
    return [Tree(folder, {path: found[source] for path, source in one.items()}, one) for one in laid], lost


def _below(found: Mapping[str, Entry], top: str) -> dict[str, str]:
    return {path.removeprefix(f"{top}/"): path for path in found if path.startswith(f"{top}/")}


def _manifest(data: bytes, name: str, limits: Limits, findings: list[Finding]) -> Partial | None:
    """What can be told of `bundle.toml`; what is wrong with it goes to `findings`."""
    if len(data) > limits.bundle_toml:
        findings.append(rules.error(MANIFEST_NAME, f"has more than {limits.bundle_toml} bytes"))
    if findings:
        return None
    known, issues = partial(data, MANIFEST_NAME, name)
    findings += rules.as_errors(issues)
    return known


def _said(error: InputError) -> str:
    return error.message + (f": {error.cause}" if error.cause else "")


def _tree_findings(
    tree: Tree, known: Partial | None, limits: Limits, names: BundleManifest | None, *, whole: bool
) -> Iterator[Finding]:
    """`whole`: all of the tree could be read."""
    # Without a manifest there is still the tree to look at.
    manifest = known.manifest if known else None
    declared = manifest or BundleManifest(name="bundle")
    yield from rules.as_errors(tree_issues(declared, tree.entries, limits))
    texts, unreadable = _texts(tree, declared, limits)
    yield from rules.as_errors(unreadable)
    units = rules.shipped_units(declared, tree.entries, texts)
    if known:
        yield from rules.include_findings(known.manifest, known.document, tree.entries)
        yield from rules.enable_findings(known.manifest, known.document, units) if whole else ()
        yield from rules.health_findings(known.manifest, known.document, units if whole else {})
        yield from rules.step_findings(known.manifest, known.document, tree.entries)
    yield from _template_findings(tree, manifest, texts, names)
    targets = {path: host_path(declared, path, tree.entries[path].kind) for path in texts}
    read = {target: texts[path] for path, target in targets.items() if is_unit_file(target)}
    unsure = known is None or not known.sure_of("templates")
    for path, target in targets.items():
        if target in read:
            dropins = rules.drop_ins(target.rpartition("/")[2], read)
            shell = unsure or is_shell(manifest, path, Kind.FILE)
            yield from rules.unit_findings(path, target, texts[path], dropins, shell=shell)
        elif (
            target == path and kind_of(target) is Trigger.SYSCTL and not (unsure or is_shell(manifest, path, Kind.FILE))
        ):
            yield from rules.sysctl_findings(path, texts[path])


def _key_findings(tree: Tree) -> Iterator[Finding]:
    for path, entry in tree.entries.items():
        if entry.kind is Kind.FILE and entry.size <= KEY_SIZE:
            try:
                data = tree.read(path, KEY_SIZE)
            except InputError as error:
                yield rules.error(*_unread(path, error))
                continue
            yield from rules.key_findings(path, data)


def _unread(path: str, error: InputError) -> tuple[str, str]:
    return printable(f"{ROOT}/{path}"), f"cannot be read: {error.cause}"


def _texts(tree: Tree, manifest: BundleManifest, limits: Limits) -> tuple[dict[str, str], list[Issue]]:
    texts = {}
    issues = []
    for path, entry in tree.entries.items():
        if is_text(path, entry, manifest) and entry.size <= limits.template:
            try:
                data = tree.read(path, limits.template)
            except InputError as error:
                where, message = _unread(path, error)
                issues.append(Issue(where=where, message=message))
                continue
            try:
                texts[path] = data.decode()
            except UnicodeDecodeError as error:
                line = data.count(b"\n", 0, error.start) + 1
                issues.append(Issue(where=f"{ROOT}/{printable(path)}:{line}", message="is not UTF-8"))
    return texts, issues


def _template_findings(
    tree: Tree, manifest: BundleManifest | None, texts: Mapping[str, str], names: BundleManifest | None
) -> Iterator[Finding]:
    templates = {p: t for p, t in texts.items() if is_template(manifest, p, tree.entries[p].kind)}
    if not templates:
        return
    from ashore.rules.bundles.templatecheck import Checker

    checker = Checker(names)
    for path, text in templates.items():
        where = f"{ROOT}/{printable(path)}"
        yield from rules.as_errors(checker.issues(text, where))
        yield from rules.as_warnings(checker.undeclared(text, where))


def _default_findings(manifest: BundleManifest, document: Document, names: BundleManifest | None) -> Iterator[Finding]:
    """Faults of the templates among the defaults."""
    texts = [pair for name, spec in manifest.values.items() for pair in _strings(name, spec, document)]
    templates = [(place, text) for place, text in texts if is_templated(text)]
    if not templates:
        return
    from ashore.rules.bundles.templatecheck import Checker

    checker = Checker(names)
    for place, text in templates:
        file, _, line = place.rpartition(":")
        yield from rules.as_errors(checker.issues(text, file, int(line)))
        yield from rules.as_warnings(checker.undeclared(text, file, int(line)))


def _strings(name: str, spec: ValueSpec, document: Document) -> Iterator[tuple[str, str]]:
    given = document.data["values"]
    assert isinstance(given, dict), "it has been read"
    key = ("values", name, "default") if is_spec(given[name]) else ("values", name)
    yield from _leaves(key, spec.default, document)


def _leaves(key: tuple[str | int, ...], value: object, document: Document) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield document.place(key), value
    elif isinstance(value, dict | list):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves((*key, part), item, document)
