# SPDX-License-Identifier: Apache-2.0
"""What rendering depends on, as one hash: equal means that rendering again would give the same. Pure."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ashore.nouns.facts import Facts

if TYPE_CHECKING:
    from ashore.rules.bundles.layers import Layer


def fingerprint(
    facts: Facts | None,
    facts_used: Iterable[str],
    host_values: Iterable[Iterable["Layer"]],
    sets: Mapping[str, object],
    salt: bytes,
) -> str:
    """A keyed hash (a secret value cannot be guessed from it) over the facts that were read, and all values.

    `facts` may be None where `facts_used` is empty: nothing has to be collected then.
    """
    known = msgspec.to_builtins(facts) if facts is not None else {}
    read = {
        "facts": {name: _look_up(known, name) for name in sorted(facts_used)},
        "values": [layer.values for layers in host_values for layer in layers],
        "sets": dict(sets),
    }
    text = json.dumps(read, sort_keys=True, default=str).encode(errors="surrogatepass")
    return "sha256:" + hmac.new(salt, text, hashlib.sha256).hexdigest()


def _look_up(known: object, dotted: str) -> object:
    from ashore.rules.bundles.reads import undotted

    at = known
    for part in undotted(dotted):
        if not isinstance(at, Mapping) or part not in at:
            return ["unknown"]
        at = at[part]
    return ["known", at]
