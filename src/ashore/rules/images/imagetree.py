# SPDX-License-Identifier: Apache-2.0
"""Layers become a tree: whiteouts applied, the bundle's part kept, everything that could escape refused.

Archives of images hold much that is no concern of a bundle; it is skipped. What lies below the
bundle's folder follows strict rules, since it will be placed on a host.
Source: OCI image-spec, layer.md, "Applying Changesets" and "Whiteouts".
"""

from collections.abc import Mapping, Sequence

import msgspec

from ashore.errors import InputError, Issue
from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind, printable, shown
from ashore.nouns.image import BUNDLE_PATH, LABEL_ROOT, ImageConfig
from ashore.nouns.layer import Member, TarEntry
from ashore.nouns.limits import Limits
from ashore.rules.bundles.placeable import HOST_ATTRIBUTES, WHITEOUT, entry_problem
from ashore.rules.images.treenode import IMPLICIT_DIR, Inode, Node, below, folder

ROOT = "root"
"""The folder of a bundle that is laid on the host."""
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
_MOST_ISSUES = 20


def tree_prefix(config: ImageConfig, root_in_image: str = "", *, name: str = "the image") -> str:
    """Which folder of an image is its bundle: what the user says, else the label, else ``ashore``.

    `name` is the image's, for people.

    Raises:
        InputError: it leads out of the image.
    """
    text = root_in_image or config.labels.get(LABEL_ROOT, BUNDLE_PATH)
    parts = [part for part in text.split("/") if part and part != "."]
    if ".." in parts or "\0" in text:
        raise InputError(
            f"not a folder of an image: {printable(text)!r}",
            cause="from --root-in-image" if root_in_image else f"from the label {LABEL_ROOT} of {name}",
        )
    return "/".join(parts)


_PLAIN: Mapping[str, bytes] = {}
"""One for all files without attributes."""
_NOWHERE: tuple[str | None, Node] = (None, folder(-1))


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A content that `path` needs and that was given up with another name of the same file."""

    path: str
    layer: int
    name: str
    """Its name in the layer's archive."""
    digest: Digest


class ImageTree:
    """Collects the layers of one image, lowest first, and says which contents are needed.

    `prefix` is the folder that counts. If it is a bundle's (``ashore``), paths are below it; any other
    folder is a tree by itself, and its paths are below ``root/``. With `only`, a path of the image, what is wrong
    beside it is passed over.
    """

    def __init__(self, prefix: str, limits: Limits, only: str = "") -> None:
        self._prefix = prefix.split("/") if prefix else []
        self._base = [] if prefix == BUNDLE_PATH else [ROOT]
        self._lead, self._cut = "/".join([*self._base, ""]), len(prefix) + 1 if prefix else 0
        self._limits, self._only = limits, only
        self._top = folder(-1)
        self._layer = -1
        self._where = ""
        self._whiteouts: set[str] = set()
        self._issues: list[Issue] = []
        self._dropped: list[str] = []
        self._made = 0
        self._last = _NOWHERE
        """The folder that the entry before was in, by its name in the archive."""

    def begin_layer(self, where: str) -> None:
        """What comes now is of the next layer; `where` names it in messages."""
        self._layer += 1
        self._where = where
        self._whiteouts = set()
        self._last = _NOWHERE

    def add(self, entry: TarEntry) -> Inode | None:
        """Take in one entry; returns the file whose content must be read now, if any: for the path `owner`."""
        above, _, name = entry.name.rpartition("/")
        if name.startswith(WHITEOUT):
            self._whiteout(entry.name.split("/"), entry)
            return None
        if name and above == self._last[0]:
            return self._place(entry, name)  # archives list a folder's files one after the other
        parts = entry.name.split("/") if entry.name else []
        depth = len(self._prefix)
        if parts[:depth] != self._prefix[: len(parts)]:
            pass  # no concern of the bundle
        elif len(parts) > depth:
            return self._place(entry, name)
        elif entry.kind is not Member.DIR:
            folder = f"a folder above {shown(self._only)}" if self._only else "the bundle's folder, or one above it,"
            self._refuse(entry, f"{folder} is {entry.what or f'a {entry.kind}'}")
        elif len(parts) == depth:
            self._top.inode.entry = _entry(entry)
        return None

    def dropped(self) -> Sequence[str]:
        """Paths whose content, asked for before, is not needed there any more; each is told once."""
        if not self._dropped:
            return ()
        gone, self._dropped = self._dropped, []
        return gone

    def finish(self) -> tuple[Mapping[str, Entry], tuple[Lost, ...]]:
        """The tree by path, and the contents that have to be read again.

        Raises:
            InputError: all that was wrong below the bundle's folder.
        """
        if self._issues:
            raise InputError("the image cannot be used", issues=self._issues)
        tree: dict[str, Entry] = {}
        lost: list[Lost] = []
        links: dict[Inode, str] = {}
        for path, node in below("/".join(self._base), self._top):
            if node is self._top and not (path and node.children):
                continue
            inode = node.inode
            if path == inode.owner:
                path = inode.owner  # one string for all who keep it
            if len(inode.names) > 1 and node.kind is Kind.FILE:
                link = links.get(inode) or links.setdefault(inode, min(inode.names))
                tree[path] = msgspec.structs.replace(inode.entry, link=link)
            else:
                tree[path] = inode.entry
            if node.kind is Kind.FILE and not inode.owner:
                inode.owner = path
                layer, name = inode.source
                lost.append(Lost(path=path, layer=layer, name=name, digest=inode.entry.digest))
        return tree, tuple(lost)

    def _place(self, entry: TarEntry, name: str) -> Inode | None:
        within = entry.name[self._cut :]
        problem = entry_problem(entry, within, self._limits)
        parent = None if problem else self._parent(within, entry)
        if problem:
            self._refuse(entry, problem)
        if parent is None:
            return None
        path = self._lead + within
        old = parent.children.get(name)
        if entry.kind is Member.HARDLINK:
            self._link(path, parent, name, entry)
        elif entry.kind is Member.DIR and old is not None and old.kind is Kind.DIR:
            old.inode.entry, old.layer = _entry(entry), self._layer
        else:
            if old is not None:
                self._remove(parent, name, path)
            inode = Inode(_entry(entry), path, (self._layer, entry.name))
            self._count()
            parent.children[name] = Node(inode, self._layer)
            if entry.kind is Member.FILE:
                return inode
        return None

    def _count(self) -> None:
        """One more path that is kept in memory."""
        self._made += 1
        if self._made > self._limits.placed:
            message = f"more than {self._limits.placed} paths below the bundle's folder"
            raise InputError("the image cannot be used", issues=[Issue(where=self._where, message=message)])

    def _parent(self, within: str, entry: TarEntry) -> Node | None:
        above = entry.name.rpartition("/")[0]
        if above == self._last[0]:
            return self._last[1]
        node = self._top
        for part in within.split("/")[:-1]:
            child = node.children.get(part)
            if child is None:
                self._count()
                child = node.children[part] = folder(self._layer)
            elif child.kind is not Kind.DIR:
                self._refuse(entry, f"it lies below {printable(part)!r}, which is a {child.kind} of the image")
                return None
            node = child
        self._last = above, node
        return node

    def _link(self, path: str, parent: Node, name: str, entry: TarEntry) -> None:
        target = self._find(entry.target.split("/"))
        if target is None or target.kind is Kind.DIR:
            self._refuse(entry, f"it is a hard link to {printable(entry.target)!r}, no file of the bundle")
            return
        if parent.children.get(name) is target:
            return
        self._count()
        self._remove(parent, name, path)
        target.inode.name(path)
        parent.children[name] = Node(target.inode, self._layer)

    def _find(self, parts: list[str]) -> Node | None:
        """What lies at a path of the image, symlinks never followed."""
        depth = len(self._prefix)
        if parts[:depth] != self._prefix or len(parts) < depth:
            return None
        node: Node | None = self._top
        for part in parts[depth:]:
            node = node.children.get(part) if node else None
        return node

    def _remove(self, parent: Node, name: str, path: str) -> None:
        node = parent.children.pop(name, None)
        if node is not None:
            self._last = _NOWHERE
            for lower, gone in below(path, node):
                self._unname(lower, gone.inode)

    def _unname(self, path: str, inode: Inode) -> None:
        inode.unname(path)
        if inode.entry.kind is Kind.FILE and inode.owner and (path == inode.owner or not inode.names):
            self._dropped.append(inode.owner)
            inode.owner = ""

    def _whiteout(self, parts: list[str], entry: TarEntry) -> None:
        name = parts[-1]
        if name.startswith(_AUFS) and name != _OPAQUE:
            return  # a union file system's own bookkeeping
        hidden = parts[:-1] if name == _OPAQUE else [*parts[:-1], name.removeprefix(WHITEOUT)]
        if hidden and hidden[-1] in {"", ".", ".."}:
            self._refuse(entry, "a whiteout without a name")
            return
        depth = len(self._prefix)
        if entry.name in self._whiteouts or hidden[:depth] != self._prefix[: len(hidden)]:
            return
        self._whiteouts.add(entry.name)
        self._last = _NOWHERE
        if len(hidden) <= depth:
            self._hide_children(self._top, "/".join(self._base))
            return
        parent, path = self._find(hidden[:-1]), "/".join(self._base + hidden[depth:])
        node = parent.children.get(hidden[-1]) if parent else None
        if parent is None or node is None:
            return
        if name == _OPAQUE:
            self._hide_children(node, path)
        elif not self._survives(node, path):
            del parent.children[hidden[-1]]

    def _hide_children(self, node: Node, path: str) -> None:
        """Remove what lower layers put below `node`."""
        for name, child in list(node.children.items()):
            if not self._survives(child, f"{path}/{name}" if path else name):
                del node.children[name]

    def _survives(self, node: Node, path: str) -> bool:
        """Hide a node that a lower layer made. A folder stays for what this layer put into it."""
        self._hide_children(node, path)
        if node.layer == self._layer:
            return True
        if node.children:
            node.inode.entry, node.layer = IMPLICIT_DIR, self._layer
            return True
        self._unname(path, node.inode)
        return False

    def _refuse(self, entry: TarEntry, message: str) -> None:
        at, only = f"{entry.name}/", f"{self._only}/"
        if self._only and not at.startswith(only) and not only.startswith(at):
            return
        self._issues.append(Issue(where=f"{self._where}: entry {printable(entry.name)}", message=message))
        if len(self._issues) >= _MOST_ISSUES:
            raise InputError("the image cannot be used", issues=self._issues)


def _entry(entry: TarEntry) -> Entry:
    if entry.kind is Member.SYMLINK:
        return Entry(
            kind=Kind.SYMLINK, mode=0o777, uid=entry.uid, gid=entry.gid, target=entry.target, xattrs=_ours(entry)
        )
    kind = Kind.DIR if entry.kind is Member.DIR else Kind.FILE
    return Entry(kind=kind, mode=entry.mode, uid=entry.uid, gid=entry.gid, xattrs=_ours(entry))


def _ours(entry: TarEntry) -> Mapping[str, bytes]:
    if not entry.xattrs:
        return _PLAIN
    return {name: value for name, value in entry.xattrs.items() if name not in HOST_ATTRIBUTES}
