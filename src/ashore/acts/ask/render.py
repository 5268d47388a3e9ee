# SPDX-License-Identifier: Apache-2.0
"""One file of a bundle, as it would lie on a host."""

import os

from ashore.acts.fetch.places import IntoCache
from ashore.acts.plan.desire import desire
from ashore.acts.tools import Tools
from ashore.errors import InputError
from ashore.mechanisms.stage.supply import Supply
from ashore.mechanisms.state.secrets import Secrets
from ashore.nouns.ask import Ask
from ashore.nouns.files import Kind, shown


def render_file(tools: Tools, ask: Ask, path: str) -> bytes:
    """One file of a bundle as it would lie on this host.

    Raises:
        InputError: the bundle has no such file, or it holds a secret value.
    """
    part = desire(tools, ask, tools.history.current(), IntoCache(tools), Secrets(tools.state).salt(create=False))
    wanted = path.strip("/")
    physical = tools.host.physical(wanted)
    found = next((w for w in part.wanted if w.path in (physical, wanted, wanted.removesuffix(".j2"))), None)
    if found is None or found.entry.kind is not Kind.FILE:
        near = sorted(shown(w.path) for w in part.wanted if os.path.basename(w.path) == os.path.basename(wanted))
        raise InputError(
            f"the bundle {part.record.name} has no file {shown(wanted)}",
            remedy=f"there is {', '.join(near)}" if near else "ashore inspect IMAGE lists its files",
        )
    if found.secret:
        raise InputError(f"{shown(wanted)} holds a secret value; it is shown nowhere")
    return Supply(part.openers).read(found.entry.digest, found.entry.size) or b""
