# SPDX-License-Identifier: Apache-2.0
"""Filters of templates that differ from Jinja's own. No I/O.

This module imports jinja2: import it where it is needed.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined
from jinja2.filters import make_attrgetter
from jinja2.utils import pass_environment

from ashore.rules.bundles.reads import View, as_text

if TYPE_CHECKING:
    from ashore.rules.bundles.sandbox import Sandbox

TEXTS = frozenset(
    {"capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower", "pprint", "replace"}
    | {"striptags", "title", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap"}
)
"""Filters of Jinja's that make a text of what they are given."""
PARTS = frozenset(
    {"attr", "batch", "count", "d", "default", "first", "items", "last", "length", "list", "map"}
    | {"reject", "rejectattr", "reverse", "select", "selectattr", "slice"}
)
"""Filters of Jinja's that give parts of what they are given, or tell of it, and look at no more than its items."""


@pass_environment
def join(environment: "Sandbox", value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    """As Jinja's, with truth as it is written."""
    items = map(make_attrgetter(environment, attribute), value) if attribute is not None else value
    texts = []
    size = 0
    between = environment.text(d)
    for item in items:
        texts.append(environment.text(item))
        size += len(texts[-1]) + len(between)
        environment.budget.fits(size)
    return between.join(texts)


def to_json(value: object, indent: int | None = None) -> str:
    """JSON as it stands in files: Jinja's own escapes it for HTML."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, View):
        return value.whole()
    if isinstance(value, StrictUndefined):
        return str(value)  # fails, and says which name it is
    return list(value) if isinstance(value, Iterable) else as_text(value)
