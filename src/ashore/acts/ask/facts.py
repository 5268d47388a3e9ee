# SPDX-License-Identifier: Apache-2.0
"""``ashore facts``: what templates can know of a host."""

from collections.abc import Iterator, Mapping

from ashore.acts.tools import host_at
from ashore.mechanisms.host.facts import collect, runs_here
from ashore.nouns.facts import Facts
from ashore.nouns.files import printable
from ashore.rules.bundles.reads import Path, as_text, dotted, plain_facts


def facts(root: str) -> Facts:
    """The facts of the host at `root`.

    Raises:
        UsageError, UnchangedError: as `host_at`.
    """
    with host_at(root) as host:
        return collect(host, live=runs_here(root))


def lines(found: Facts) -> list[str]:
    """Each fact as a template names it, and what it is."""
    return [f"facts.{dotted(path)} = {printable(as_text(value))}" for path, value in _leaves((), plain_facts(found))]


def _leaves(path: Path, value: object) -> Iterator[tuple[Path, object]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves((*path, str(name)), item)
    elif isinstance(value, list) and all(isinstance(item, Mapping) and "address" in item for item in value):
        yield from ((path, ", ".join(f"{item['address']}/{item['prefix']}" for item in value)) for _ in value[:1])
    else:
        yield path, value
