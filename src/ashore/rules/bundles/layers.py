# SPDX-License-Identifier: Apache-2.0
"""What the files of values.d say to one bundle: their own keys, and over those what stands below its name. No I/O."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ashore.errors import Issue

if TYPE_CHECKING:
    from ashore.nouns.toml import Document

BUNDLE = "bundle"
"""``[bundle.NAME]``: what holds for that bundle alone. As anything but a table, a value as all others."""


class Layer(NamedTuple):
    """Some values that were said together."""

    values: Mapping[str, object]
    place: "Callable[[tuple[str, ...]], str]"
    """``file:line`` of a path in them."""


def layers(bundle: str, documents: "Sequence[Document]") -> tuple[list[Layer], list[Layer]]:
    """What is said to all bundles, and what to this one: each in the order of the files, the latter wins."""
    shared, own = [], []
    for document in documents:
        of_bundles = document.data.get(BUNDLE)
        named = isinstance(of_bundles, Mapping)
        values = {name: value for name, value in document.data.items() if not named or name != BUNDLE}
        shared.append(Layer(values, document.place))
        mine = of_bundles.get(bundle) if isinstance(of_bundles, Mapping) else None
        if isinstance(mine, Mapping) and mine:
            own.append(Layer(mine, _below(document, bundle)))
    return shared, own


def _below(document: "Document", bundle: str) -> Callable[[tuple[str, ...]], str]:
    return lambda path: document.place((BUNDLE, bundle, *path))


def misplaced(document: "Document", names: Container[str]) -> Iterator[Issue]:
    """What stands in ``[bundle]`` itself and has one of `names`: it is meant for the bundle that has these values."""
    of_bundles = document.data.get(BUNDLE)
    for name, value in of_bundles.items() if isinstance(of_bundles, Mapping) else ():
        if name in names and not isinstance(value, Mapping):
            yield told_of_bundle(document.place((BUNDLE, name)))


def told_of_bundle(where: str) -> Issue:
    """Who has a value `bundle` that is a table writes it otherwise."""
    return Issue(
        where=where,
        message="the table bundle holds values of single bundles, each below its name: [bundle.NAME]",
        remedy="a value bundle of the bundle NAME is written bundle = ... below [bundle.NAME]",
    )
