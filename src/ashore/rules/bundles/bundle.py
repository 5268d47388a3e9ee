# SPDX-License-Identifier: Apache-2.0
"""An image's tree -> `Bundle`: what it holds, and that it may. No I/O."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from ashore.errors import InputError, Issue
from ashore.nouns import files, reference
from ashore.nouns.bundle import MANIFEST_NAME, TEMPLATE_SUFFIX, Bundle, BundleManifest
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind
from ashore.nouns.image import BUNDLE_PATH, VerifiedImage
from ashore.nouns.limits import DEFAULT, Limits
from ashore.nouns.units import UNIT_FOLDERS, UNIT_SUFFIXES
from ashore.rules.bundles import placeable
from ashore.rules.bundles.manifest import parse_manifest
from ashore.rules.bundles.placeable import forbidden, taken
from ashore.rules.bundles.placing import host_path, is_shell
from ashore.rules.triggers.kinds import SPEAKING, kind_of

ROOT = "root"
"""The folder of a bundle that is laid on the host."""
_UNIT_ENDS = (*UNIT_SUFFIXES, ".conf")
_TEXT_ENDS = (TEMPLATE_SUFFIX, *_UNIT_ENDS)
"""How whatever `is_text` names ends, shell templates aside: that tells nearly all paths apart."""
_ODD = (
    "//",
    "/./",
    "/../",
    "/.ashore/",
    f"/{placeable.WHITEOUT}",
    *(f"\n/{folder}/" for folder in placeable.FORBIDDEN),
)
"""What may be in a path that `_entry_issues` has to look at, and is in few; each stands between slashes on a line."""
TITLE = "org.opencontainers.image.title"


def needs_text(
    path: str,
    entry: Entry,
    manifest: BundleManifest | None = None,
    *,
    limits: Limits = DEFAULT,
) -> bool:
    """Whether `read_bundle` must be given the bytes of `path`, a path of its `tree`.

    Without a manifest (it has not been read yet) the answer leaves out shell templates. What is over
    its limit is not needed: `read_bundle` refuses it by its size.
    """
    if entry.kind is not Kind.FILE:
        return False
    if path == MANIFEST_NAME:
        return entry.size <= limits.bundle_toml
    if not path.endswith(_TEXT_ENDS) and (manifest is None or not manifest.shell_templates):
        return False
    below = _below(path)
    return bool(below) and is_text(below, entry, manifest) and entry.size <= limits.template


def is_text(path: str, entry: Entry, manifest: BundleManifest | None) -> bool:
    """Whether rules read the file `path` below root/: templates, unit files and drop-ins, what triggers go by."""
    if not path.endswith(_TEXT_ENDS):
        return is_shell(manifest, path, entry.kind)
    return entry.kind is Kind.FILE and (
        path.endswith(TEMPLATE_SUFFIX)
        or is_shell(manifest, path, entry.kind)
        or is_unit_file(path)
        or kind_of(path) in SPEAKING
    )


def is_unit_file(path: str) -> bool:
    """Whether systemd reads `path` as a unit or a drop-in of one (systemd.unit(5))."""
    path = path.removesuffix(TEMPLATE_SUFFIX)
    if not path.endswith(_UNIT_ENDS):  # nearly all paths
        return False
    folder, _, name = path.rpartition("/")
    if folder in UNIT_FOLDERS:
        return name.endswith(UNIT_SUFFIXES)
    above, _, dropin = folder.rpartition("/")
    return above in UNIT_FOLDERS and dropin.endswith(".d") and name.endswith(".conf")


def read_bundle(
    image: VerifiedImage,
    tree: Mapping[str, Entry],
    texts: Mapping[Digest, bytes],
    *,
    name: str = "",
    limits: Limits = DEFAULT,
) -> Bundle:
    """The bundle that a verified image carries.

    Args:
        image: where it comes from; only a verified image can become a bundle.
        tree: the entries below the image's ``/ashore``: ``bundle.toml``, ``root/...``.
        texts: the bytes of every file for which `needs_text` is true, by digest.
        name: the name where ``bundle.toml`` gives none; else the image's title or repository.

    Raises:
        InputError: all that is wrong with it.
    """
    manifest = _manifest(tree, texts, name or _default_name(image), limits)
    entries = _entries(tree)
    issues = [*_absent(tree, entries), *tree_issues(manifest, entries, limits)]
    read = [path for path, entry in entries.items() if is_text(path, entry, manifest)]
    issues += _missing_texts(sorted(read), entries, texts, limits)
    if issues:
        raise InputError(f"the bundle {manifest.name} of {image.image.reference} cannot be used", issues=issues)
    kept = {digest: texts[digest] for digest in {entries[path].digest for path in read}}
    return Bundle(manifest=manifest, entries=entries, texts=kept, source=image.image.digest)


def _entries(tree: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """What lies below root/ by its path there, each group of hard links named as its path is."""
    lead = f"{ROOT}/"
    entries = {path[len(lead) :]: entry for path, entry in tree.items() if path.startswith(lead)}
    entries.pop("", None)
    linked = {path: entry for path, entry in entries.items() if entry.link}
    for path, entry in linked.items():
        entries[path] = msgspec.structs.replace(entry, link=_below(entry.link))
    return entries


def _below(path: str) -> str:
    """`path` as it lies below root/; empty for what lies elsewhere."""
    head, _, rest = path.partition("/")
    return rest if head == ROOT else ""


def _manifest(tree: Mapping[str, Entry], texts: Mapping[Digest, bytes], name: str, limits: Limits) -> BundleManifest:
    entry = tree.get(MANIFEST_NAME)
    if entry is None:
        return parse_manifest(b"", MANIFEST_NAME, name)
    if entry.kind is not Kind.FILE:
        raise InputError(f"{MANIFEST_NAME} is a {entry.kind}", remedy="it must be a file")
    if entry.size > limits.bundle_toml:
        raise InputError(f"{MANIFEST_NAME} has {entry.size} bytes, more than {limits.bundle_toml}")
    if entry.digest not in texts:
        raise InputError(f"the content of {MANIFEST_NAME} is missing in the image")
    return parse_manifest(texts[entry.digest], MANIFEST_NAME, name)


def _default_name(image: VerifiedImage) -> str:
    """The image's title label, or the last part of its reference's path, as near to a name as it gets."""
    source = reference.parse(image.image.reference)
    text = image.image.config.labels.get(TITLE, "") or source.repository or source.place
    return re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rpartition("/")[2].lower()).strip(".-_")[:128]


def _absent(tree: Mapping[str, Entry], entries: Mapping[str, Entry]) -> Iterable[Issue]:
    root = tree.get(ROOT)
    if root is not None and root.kind is not Kind.DIR:
        yield Issue(where=ROOT, message=f"is a {root.kind}, not a folder")
    elif not entries and root is None and MANIFEST_NAME not in tree:
        what = "the image carries no bundle: it has no ashore/root"
        remedy = "COPY the bundle's folder to /ashore/, or name its tree: --root-in-image"
        yield Issue(where="", message=what, remedy=remedy)


def tree_issues(manifest: BundleManifest, entries: Mapping[str, Entry], limits: Limits) -> Iterable[Issue]:
    """All that is wrong with the tree below root/, as it stands there."""
    odd = _any_odd(entries, limits)
    for path in sorted(entries if odd else _worth_a_look(entries, limits)):
        entry = entries[path]
        problems = list(_entry_issues(path, entry, entries, limits)) if odd else []
        if entry.size > limits.template and is_text(path, entry, manifest):
            problems.append((f"has {entry.size} bytes, more than {limits.template} for a template or unit", ""))
        target = host_path(manifest, path, entry.kind)
        if target != path and (message := forbidden(target) or taken(target)):
            problems.append((message, ""))
        if not target or target.endswith("/"):
            problems.append(("has no name without its suffix", ""))
        if target != path and target in entries and host_path(manifest, target, entries[target].kind) == target:
            other = files.printable(f"{ROOT}/{target}")
            problems.append((f"lands on the same path as {other}", "remove one of them"))
        for message, remedy in problems:
            yield Issue(where=files.printable(f"{ROOT}/{path}"), message=message, remedy=remedy)


def _any_odd(entries: Mapping[str, Entry], limits: Limits = DEFAULT) -> bool:
    """Whether anything can be wrong with a path for itself: of nearly all bundles that is told at a glance."""
    lines, values = "/\n/".join(("", *entries, "")), entries.values()
    if not lines.isascii() or any(odd in lines for odd in _ODD):
        return True
    if max(map(len, entries), default=0) > min(limits.name, 2 * limits.depth - len(ROOT)) - len(ROOT):
        return True  # what is shorter is neither too long nor too deep
    if any(e.kind is Kind.OTHER or e.xattrs or not e.target.isascii() or len(e.target) > limits.path for e in values):
        return True
    return any(entries[above].kind is not Kind.DIR for above in files.folders_of(entries) & entries.keys())


def _worth_a_look(entries: Mapping[str, Entry], limits: Limits) -> Iterable[str]:
    """Those of paths that are not odd with which something else can be wrong: templates, and what is large."""
    return [path for path, e in entries.items() if e.size > limits.template or path.endswith(TEMPLATE_SUFFIX)]


def _entry_issues(path: str, entry: Entry, others: Mapping[str, Entry], limits: Limits) -> Iterable[tuple[str, str]]:
    between = f"/{path}/"
    if why := placeable.path_problem(f"{BUNDLE_PATH}/{ROOT}/{path}", f"{ROOT}/{path}", limits):
        yield why, "rename or move it"
    if "//" in between or "/./" in between or "/../" in between:
        yield "its path has an empty part, . or ..", ""
    if message := forbidden(path):
        yield message, "use tmpfiles.d for what must exist at run time"
    elif message := taken(path):
        yield message, ""
    if entry.kind is Kind.OTHER:
        yield "is a device, FIFO or socket", "use tmpfiles.d(5) to make one"
    if why := placeable.target_problem(entry.target, limits):
        yield why, "make it anew"
    if why := placeable.attributes_problem(entry.xattrs, limits):
        yield why, "take it off: setfattr -x"
    for folder in files.ancestors(path):
        above = others.get(folder)
        if above is not None and above.kind is not Kind.DIR:
            yield f"lies below {files.printable(folder)}, which is a {above.kind}", "write the physical path"
            break


def _missing_texts(
    read: Iterable[str], entries: Mapping[str, Entry], texts: Mapping[Digest, bytes], limits: Limits
) -> Iterable[Issue]:
    for path in read:
        if entries[path].digest not in texts and entries[path].size <= limits.template:
            yield Issue(where=files.printable(f"{ROOT}/{path}"), message="its content is missing in the image")
