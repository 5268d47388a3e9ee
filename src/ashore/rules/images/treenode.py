# SPDX-License-Identifier: Apache-2.0
"""The nodes of an image's tree while its layers are laid over each other."""

from collections.abc import Iterator

import msgspec

from ashore.nouns.digest import Digest
from ashore.nouns.files import Entry, Kind

IMPLICIT_DIR = Entry(kind=Kind.DIR, mode=0o755)
"""A folder that an archive does not list but has entries below."""


_NONE: dict[str, "Node"] = {}
"""The children of all that are no folders: nothing is ever put there."""


class Inode:
    """What one or more paths name: hard links share it. `source` is where its content came from."""

    __slots__ = ("entry", "names", "owner", "source")

    def __init__(self, entry: Entry, owner: str = "", source: tuple[int, str] = (0, "")) -> None:
        self.entry = entry
        self.owner = owner
        """The path that the content was asked for under; empty where that path now names something else."""
        self.source = source
        """Layer and name in its archive."""
        self.names: tuple[str, ...] | set[str] = (owner,) if owner else ()
        """A set where there ever were several: few files have more than one."""

    def name(self, path: str) -> None:
        """One name more."""
        if isinstance(self.names, tuple):
            self.names = set(self.names)
        self.names.add(path)

    def unname(self, path: str) -> None:
        """One name less."""
        if isinstance(self.names, set):
            self.names.discard(path)
        elif path in self.names:
            self.names = ()

    def content(self, digest: Digest, size: int) -> None:
        """Its content was read."""
        self.entry = msgspec.structs.replace(self.entry, digest=digest, size=size)


class Node:
    """One name in a folder, and the layer that said so last."""

    __slots__ = ("children", "inode", "layer")

    def __init__(self, inode: Inode, layer: int) -> None:
        self.inode = inode
        self.layer = layer
        self.children: dict[str, Node] = {} if inode.entry.kind is Kind.DIR else _NONE

    @property
    def kind(self) -> Kind:
        return self.inode.entry.kind


def folder(layer: int, entry: Entry = IMPLICIT_DIR) -> Node:
    """A folder as `layer` knows it."""
    return Node(Inode(entry), layer)


def below(path: str, node: Node) -> Iterator[tuple[str, Node]]:
    """A node and all below it, sorted by name within each folder."""
    waiting = [(path, node)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        if children := node.children:
            lead = f"{path}/" if path else ""
            waiting += [(lead + name, children[name]) for name in sorted(children, reverse=True)]
